//! A tracer that spoils a running process's system calls: `strace -e inject`.

use std::{
    fs, io,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::db::{node::Node, process::Process};

/// The calls by which what was written becomes durable.
const SYNCS: &str = "fdatasync,fsync";
const ATTACHED_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Attaches to a node; `what` is done to each of its syncs. The trace is written to its home.
pub(super) async fn attach(node: &Node, what: &str) -> io::Result<Process> {
    let pid = node.pid().ok_or_else(|| io::Error::other("it does not run"))?;
    let _ = fs::remove_file(trace(node));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-p", &pid.to_string(), "-e", &format!("trace={SYNCS}")]);
    command.args(["-e", &format!("inject={SYNCS}:{what}"), "-o"]).arg(trace(node));
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

/// How many syncs were spoiled.
pub(super) fn spoiled(node: &Node) -> usize {
    let text = fs::read_to_string(trace(node)).unwrap_or_default();
    text.lines().filter(|line| line.contains("INJECTED") || line.contains("DELAYED")).count()
}

fn trace(node: &Node) -> PathBuf {
    node.home.join("syncs.trace")
}

fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|by| by.trim() != "0"))
}
