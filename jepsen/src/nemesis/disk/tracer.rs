//! A tracer that spoils a running process's system calls: `strace -e inject`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::db::{node::Node, process::Process};

/// The calls by which what was written becomes durable.
pub(super) const SYNCS: &str = "fdatasync,fsync,sync_file_range";
/// Those that write. Nodes answer and log by them, too, so they need files.
pub(super) const WRITES: &str = "write,pwrite64,fallocate";

const ATTACHED_WITHIN: Duration = Duration::from_secs(3);
/// A tracer lets go of a call when its delay is over.
const DETACHED_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Which calls are spoiled, and how.
pub(super) struct Spoil<'a> {
    pub(super) calls: &'static str,
    /// As strace has it: `error=EIO:when=3+`.
    pub(super) how: &'a str,
    /// Only calls on these files; on any where there is none.
    pub(super) files: &'a [PathBuf],
}

/// Attaches to a node. The trace is written to its home.
pub(super) async fn attach(node: &Node, spoil: &Spoil<'_>) -> io::Result<Process> {
    let pid = node.pid().ok_or_else(|| io::Error::other("it does not run"))?;
    let _ = fs::remove_file(trace(node));
    let Spoil { calls, how, files } = spoil;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:{how}"), "-o"]).arg(trace(node));
    for file in *files {
        command.arg("-P").arg(file);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut tracer = Process::start(command)?;
    let deadline = Instant::now() + ATTACHED_WITHIN;
    while !is_traced(pid) {
        if tracer.ended().is_some() || deadline <= Instant::now() {
            return Err(io::Error::other("strace cannot attach to the node"));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(tracer)
}

/// Ends tracers in good order: of one that is killed in the middle of a call the process gets an
/// answer that no kernel gives.
pub(super) async fn detach(tracers: &mut Vec<Process>) {
    for mut tracer in tracers.drain(..) {
        tracer.signal(Signal::TERM);
        tracer.await_end(DETACHED_WITHIN).await;
    }
}

/// The files of a node's log as they are now, and the mark that follows each write of it.
pub(super) fn log_files(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![data.join("ACKNOWLEDGED")];
    for entry in fs::read_dir(data.join("raft"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    Ok(files)
}

/// How many calls were spoiled.
pub(super) fn spoiled(node: &Node) -> usize {
    count(&fs::read_to_string(trace(node)).unwrap_or_default())
}

fn count(trace: &str) -> usize {
    trace.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count()
}

fn trace(node: &Node) -> PathBuf {
    node.home.join("calls.trace")
}

fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|by| by.trim() != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spoiled_calls_count() {
        let trace = "8 fdatasync(9) = 0\n\
                     8 fdatasync(9) = -1 EIO (Input/output error) (INJECTED)\n\
                     9 fsync(4 <unfinished ...>\n\
                     9 <... fsync resumed>) = 0 (DELAYED)\n\
                     8 +++ exited with 74 +++\n";
        assert_eq!(count(trace), 2);
        assert_eq!(count(""), 0);
    }

    #[test]
    fn the_log_is_what_the_database_writes_first_and_its_mark() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        fs::create_dir(data.join("raft")).unwrap();
        for name in ["000004.log", "000009.sst", "LOG", "CURRENT"] {
            fs::write(data.join("raft").join(name), "").unwrap();
        }
        let expected = [data.join("ACKNOWLEDGED"), data.join("raft/000004.log")];
        assert_eq!(log_files(data).unwrap(), expected);
    }
}
