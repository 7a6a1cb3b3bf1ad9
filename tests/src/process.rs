//! Child processes that end with this one, whatever ends it.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::{binary, wait};

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

/// The program under test, with an empty environment, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// `synckairos` with these arguments, standard error appended to `log`.
///
/// # Panics
/// Where the log cannot be opened.
pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>, log: &Path) -> Command {
    command_of(&binary::path(), arguments, log)
}

/// As [`command`], of another program.
///
/// # Panics
/// Where the log cannot be opened.
pub fn command_of<'a>(
    program: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
    log: &Path,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    outfit(&mut command, log);
    command
}

/// An empty environment, and standard error appended to `log`.
///
/// # Panics
/// Where the log cannot be opened.
pub fn outfit(command: &mut Command, log: &Path) {
    let open = |path: &Path| -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(path)
    };
    let log = open(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    command
        .env_clear()
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
}

impl Process {
    /// # Panics
    /// Where the program cannot be started.
    pub fn start(command: Command) -> Self {
        let (reply, started) = mpsc::channel();
        SPAWNER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send((command, reply))
            .expect("the spawner lives as long as the process");
        let child = started.recv().expect("the spawner answers").expect("the program starts");
        Self { child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&mut self) -> ExitStatus {
        // It fails only for a process that has ended, which is as well.
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// # Panics
    /// Where it still runs after `within`.
    pub async fn await_end(&mut self, within: Duration) -> ExitStatus {
        wait::eventually(within, "the process ends", async || {
            self.ended().ok_or_else(|| String::from("it runs"))
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Is there a process with this id?
///
/// # Panics
/// Where `pid` is none.
pub fn is_running(pid: u32) -> bool {
    test_kill_process(pid_of(pid)).is_ok()
}

/// # Panics
/// Where `pid` is none.
pub fn signal_process(pid: u32, signal: Signal) {
    // A process that has ended needs no signal.
    let _ = kill_process(pid_of(pid), signal);
}

fn pid_of(pid: u32) -> Pid {
    let raw = i32::try_from(pid).expect("process ids are small");
    Pid::from_raw(raw).expect("a process id is not zero")
}
