//! Child processes that end with this one, whatever ends it.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

const LOOK_EVERY: Duration = Duration::from_millis(5);

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// A child's "end with your parent" means the thread that started it: this one never ends.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (jobs, received) = mpsc::channel::<Job>();
    thread::spawn(move || {
        for (mut command, reply) in received {
            // Whoever asked has given up where this fails.
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(jobs)
});

/// A process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// # Errors
    /// Where the program cannot be started.
    pub fn start(command: Command) -> io::Result<Self> {
        let (reply, started) = mpsc::channel();
        let job = (command, reply);
        let gone = || io::Error::other("the thread that starts processes is gone");
        SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).send(job).map_err(|_| gone())?;
        let child = started.recv().map_err(|_| gone())??;
        Ok(Self { child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it ended, or `None` where it still runs after `within`.
    pub async fn await_end(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if deadline <= tokio::time::Instant::now() {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only for a process that has ended, which is as well. One that hangs on a frozen
        // disk ends when that is thawed; nobody waits for it here.
        let _ = self.child.kill();
        let _ = self.child.try_wait();
    }
}

/// The exit code, and the signal where one ended it.
pub fn ending(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    (status.code(), status.signal())
}

pub fn signal_process(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A process that has ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}

/// Runs a command to its end; what it wrote to standard output.
///
/// # Errors
/// Where it cannot be run, does not end in time, or ends with another code than 0: then with what
/// it wrote to standard error.
pub async fn run(command: Command, within: Duration) -> io::Result<String> {
    let name = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(within, command.output()).await;
    let output = output.map_err(|_| io::Error::other(format!("{name} did not end in time")))??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{name}: {}: {}", output.status, told.trim())))
}
