//! One node: its directory, its process, its client port.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    binary,
    http::Http,
    process::{self, Process},
    small_disk::SmallDisk,
    socket::Socket,
    wait::{PATIENCE, eventually},
};

/// Longer than a node gives itself to stop in good order.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// Lines of a node's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

pub struct Node {
    pub id: u64,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where its peer port is, without a relay in front.
    pub peer: SocketAddr,
    pub directory: PathBuf,
    pub http: Http,
    environment: Vec<(String, String)>,
    /// Another version of the program than the one under test.
    program: Mutex<Option<PathBuf>>,
    /// It joined, and has its configuration in its data directory.
    joined: bool,
    process: Mutex<Option<Process>>,
    disk: Mutex<Option<Arc<SmallDisk>>>,
}

impl Node {
    /// Sets this node's clocks wrong while it runs: the wall clock by an offset, both by a rate.
    /// It sees them so a moment later.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn set_clock(&self, wall_offset_ms: i64, rate_ppm: i64) {
        let (file, fresh) = (self.clock_file(), self.directory.join("clock.new"));
        // Renamed into place, so that the node never reads half of it.
        fs::write(&fresh, format!("{wall_offset_ms} {rate_ppm}")).expect("the directory is ours");
        fs::rename(&fresh, &file).expect("the directory is ours");
    }

    fn clock_file(&self) -> PathBuf {
        self.directory.join("clock")
    }

    pub(crate) fn new(
        id: u64,
        address: SocketAddr,
        peer: SocketAddr,
        directory: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        let http = Http::new(address);
        let (program, process, disk) = (Mutex::default(), Mutex::default(), Mutex::default());
        let joined = false;
        Self { id, address, peer, directory, http, environment, program, joined, process, disk }
    }

    /// A node that joined by a token, without rate limits. Its id is known once it runs.
    pub(crate) fn joined(address: SocketAddr, peer: SocketAddr, directory: PathBuf) -> Self {
        let unlimited = ["RATE_LIMIT_GENERAL", "RATE_LIMIT_SWITCH"];
        let environment = unlimited.map(|name| (name.to_owned(), String::from("0"))).to_vec();
        Self { joined: true, ..Self::new(0, address, peer, directory, environment) }
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// From its next start on it has its data on a disk of so many bytes.
    ///
    /// # Panics
    /// Where this machine lets nobody mount anything.
    pub async fn on_small_disk(&self, bytes: u64) -> Arc<SmallDisk> {
        let disk = Arc::new(SmallDisk::mount(&self.data_dir(), bytes).await);
        *self.disk() = Some(Arc::clone(&disk));
        disk
    }

    /// From its next start on it is this program; `None` is the one under test.
    pub fn run_with(&self, program: Option<PathBuf>) {
        *self.program() = program;
    }

    fn is_other_program(&self) -> bool {
        self.program().is_some()
    }

    fn program(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Panics
    /// Where it runs already.
    pub fn start(&self) {
        let mut process = self.process();
        assert!(process.is_none(), "node {} runs", self.id);
        let (option, place) = if self.joined {
            ("--data-dir", self.data_dir())
        } else {
            ("--config", self.config_file())
        };
        let arguments = ["serve", "--exit-with-parent", option, path_text(&place)];
        let log = self.log_file();
        let mut command = match &*self.disk() {
            Some(disk) => disk.command(arguments, &log),
            None => {
                let program = self.program().clone().unwrap_or_else(binary::path);
                process::command_of(&program, arguments, &log)
            }
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if !self.is_other_program() {
            command.env("SYNCKAIROS_TEST_CLOCK", self.clock_file());
        }
        *process = Some(Process::start(command));
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill(&self) {
        let process = self.process().take();
        process.unwrap_or_else(|| panic!("node {} does not run", self.id)).kill();
    }

    /// SIGSTOP: it holds its sockets and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM; the node ends when it has finished.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// # Panics
    /// Where it does not end.
    pub async fn await_end(&self) -> ExitStatus {
        let taken = self.process().take();
        let mut process = taken.unwrap_or_else(|| panic!("node {} does not run", self.id));
        process.await_end(STOP_WITHIN).await
    }

    /// Waits until `GET /ready` is 200.
    ///
    /// # Panics
    /// Where that does not happen.
    pub async fn await_ready(&self) {
        let what = format!("node {} is ready", self.id);
        eventually(PATIENCE, &what, async || {
            if let Some(status) = self.process().as_mut().and_then(Process::ended) {
                panic!("node {} ended: {status}: {}", self.id, self.last_log_line());
            }
            match self.http.try_get("/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    pub fn runs(&self) -> bool {
        self.process().is_some()
    }

    /// A socket that watches `session` on this node.
    ///
    /// # Panics
    /// Where the node refuses.
    pub async fn watch(&self, session: &str) -> Socket {
        Socket::watch(self.address, session).await
    }

    /// What it wrote to standard error since the first start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub fn last_log_line(&self) -> String {
        last_line(&self.log())
    }

    /// Shows the end of the log on standard error.
    pub fn show_log(&self) {
        let log = self.log();
        // Waiting for the node to get ready leaves a line each time.
        let lines: Vec<&str> =
            log.lines().filter(|line| !line.contains(r#"path="/ready""#)).collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        eprintln!("---- node {} ({} lines) ----\n{}", self.id, lines.len(), shown.join("\n"));
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("node.log")
    }

    fn signal(&self, signal: Signal) {
        let process = self.process();
        process.as_ref().unwrap_or_else(|| panic!("node {} does not run", self.id)).signal(signal);
    }

    fn disk(&self) -> MutexGuard<'_, Option<Arc<SmallDisk>>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn last_line(log: &str) -> String {
    log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

/// # Panics
/// Where the path is no UTF-8.
pub fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}
