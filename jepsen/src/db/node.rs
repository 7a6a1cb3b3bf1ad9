//! One node: its directory, its disk, its place in the network, its process.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    process::{Process, ending},
    program::Program,
    storage::Storage,
};
use crate::{
    client::http::{self, Question},
    env::{Network, Place},
    history::recorder::Recorder,
    test::run::Exit,
};

/// How long a question of the harness may take.
const ASK_WITHIN: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct Node {
    /// `n1`.
    pub name: String,
    /// Its id in the cluster.
    pub id: u64,
    /// Its files, and below it its disk.
    pub home: PathBuf,
    pub place: Place,
    pub storage: Storage,
    network: Arc<Network>,
    recorder: Recorder,
    inner: Mutex<Inner>,
}

struct Inner {
    program: Program,
    environment: BTreeMap<String, String>,
    /// It joined by a token, and has its configuration in its data directory.
    joined: bool,
    /// It was removed from the cluster for good, and is not started again.
    retired: bool,
    process: Option<Process>,
    /// Why the process is to end, and with which codes it may.
    asked: Option<(String, Vec<i32>)>,
    exits: Vec<Exit>,
}

/// What a new node is made of.
pub struct Parts {
    pub name: String,
    pub id: u64,
    pub home: PathBuf,
    pub place: Place,
    pub storage: Storage,
    pub program: Program,
    pub environment: BTreeMap<String, String>,
    pub joined: bool,
}

impl Node {
    pub fn new(parts: Parts, network: Arc<Network>, recorder: Recorder) -> Self {
        let Parts { name, id, home, place, storage, program, environment, joined } = parts;
        let inner = Inner {
            program,
            environment,
            joined,
            retired: false,
            process: None,
            asked: None,
            exits: Vec::new(),
        };
        Self { name, id, home, place, storage, network, recorder, inner: Mutex::new(inner) }
    }

    /// Starts the process. Does nothing where it runs.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&self) -> io::Result<()> {
        let mut inner = self.inner();
        self.reap(&mut inner);
        if inner.process.is_some() || inner.retired {
            return Ok(());
        }
        inner.asked = None;
        let mut command = inner.program.serve(|path| self.network.command(&self.name, path));
        if inner.joined {
            command.arg("--data-dir").arg(self.storage.data());
        } else {
            command.arg("--config").arg(self.home.join("node.toml"));
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let environment = inner.environment.iter();
        let environment = environment.filter(|(name, _)| inner.program.takes_variable(name));
        command.env_clear().env("RUST_BACKTRACE", "1").envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        inner.process = Some(Process::start(command)?);
        Ok(())
    }

    /// Where the process writes its log.
    pub fn log(&self) -> PathBuf {
        self.home.join("node.log")
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut inner = self.inner();
        self.reap(&mut inner);
        inner.process.as_ref().map(Process::id)
    }

    pub fn runs(&self) -> bool {
        self.pid().is_some()
    }

    /// SIGKILL, and gone when this returns, unless it hangs in the kernel.
    pub async fn kill(&self, because: &str) {
        self.expect_end(because, &[]);
        self.signal(Signal::KILL);
        let _ = self.await_end(Duration::from_secs(5)).await;
    }

    /// SIGTERM, and up to `within` for it to end in good order, then SIGKILL. Did it end itself?
    pub async fn terminate(&self, because: &str, within: Duration) -> bool {
        self.expect_end(because, &[0]);
        self.signal(Signal::TERM);
        if self.await_end(within).await {
            return true;
        }
        self.kill(because).await;
        false
    }

    pub fn signal(&self, signal: Signal) {
        let mut inner = self.inner();
        self.reap(&mut inner);
        if let Some(process) = &inner.process {
            process.signal(signal);
        }
    }

    /// From now on the process may end, with one of these codes or by SIGKILL, because of this.
    pub fn expect_end(&self, because: &str, allowed: &[i32]) {
        self.inner().asked = Some((because.to_owned(), allowed.to_vec()));
    }

    /// From now on it may not.
    pub fn expect_life(&self) {
        self.inner().asked = None;
    }

    /// Waits until the process has ended; whether it has.
    pub async fn await_end(&self, within: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + within;
        while self.runs() {
            if deadline <= tokio::time::Instant::now() {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Another version of the program from the next start on.
    pub fn set_program(&self, program: &Program) {
        program.clone_into(&mut self.inner().program);
    }

    /// Is this the version that it runs, or is to run?
    pub fn has_program(&self, program: &Program) -> bool {
        self.inner().program == *program
    }

    /// A variable of its environment from the next start on; `None` takes it away.
    pub fn set_environment(&self, name: &str, value: Option<&str>) {
        let environment = &mut self.inner().environment;
        match value {
            Some(value) => environment.insert(name.to_owned(), value.to_owned()),
            None => environment.remove(name),
        };
    }

    /// It left the cluster for good.
    pub fn retire(&self) {
        self.inner().retired = true;
    }

    pub fn is_retired(&self) -> bool {
        self.inner().retired
    }

    /// How its processes ended so far.
    pub fn exits(&self) -> Vec<Exit> {
        let mut inner = self.inner();
        self.reap(&mut inner);
        inner.exits.clone()
    }

    /// Sets its clocks wrong: the wall clock by an offset, both by a rate. Only a program with the
    /// test clock sees it, a moment later.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn set_clock(&self, wall_offset_ms: i64, rate_ppm: i64) -> io::Result<()> {
        let fresh = self.home.join("clock.new");
        // Renamed into place, so that the node never reads half of it.
        fs::write(&fresh, format!("{wall_offset_ms} {rate_ppm}"))?;
        fs::rename(&fresh, self.home.join("clock"))
    }

    /// Asks it on the harness's own way, which no fault touches.
    pub async fn ask(&self, path: &str) -> Option<(u16, Value)> {
        let question = Question::get(path);
        let answer = http::ask(self.place.control, &question, ASK_WITHIN).await.ok()?;
        Some((answer.status, answer.body))
    }

    pub async fn is_ready(&self) -> bool {
        self.ask("/ready").await.is_some_and(|(status, _)| status == 200)
    }

    fn reap(&self, inner: &mut Inner) {
        let Some(status) = inner.process.as_mut().and_then(Process::ended) else { return };
        inner.process = None;
        let (code, signal) = ending(status);
        let (because, allowed) = inner.asked.take().unwrap_or_default();
        let (node, time) = (self.name.clone(), self.recorder.now_ns());
        inner.exits.push(Exit { node, time, code, signal, because, allowed });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
