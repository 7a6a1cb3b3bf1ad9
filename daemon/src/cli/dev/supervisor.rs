//! Starts the nodes, says how to use them, brings back one that crashed, and stops them all.

use std::{
    fs::OpenOptions,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use super::{
    layout::{Layout, LayoutError, io_at},
    running::{Running, RunningNode},
    status,
};
use crate::cli::{CliError, note, print};

/// How long the nodes may take to find a leader.
const READY_WITHIN: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);
/// How long nodes may take to stop, before they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// A crashed node stays away for this long, so that its absence can be seen.
const RESTART_AFTER: Duration = Duration::from_secs(3);
/// A node that ends sooner than this after its start will not do better the next time.
const HOPELESS_WITHIN: Duration = Duration::from_secs(5);

/// v2's variable for the one port of its one process: here it would give all nodes the same.
const NOT_INHERITED: [&str; 1] = ["PORT"];

struct Node {
    id: u64,
    child: Option<Child>,
    started: Instant,
    restart_at: Option<Instant>,
}

/// Runs the cluster until Ctrl-C or SIGTERM.
pub(super) async fn run(layout: &Layout) -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut nodes = Vec::new();
    for id in layout.node_ids() {
        nodes.push(Node::start(layout, id)?);
    }
    write_running(layout, &nodes)?;
    let result = tokio::select! {
        result = supervise(layout, &mut nodes) => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    note("stopping all nodes");
    stop(&mut nodes).await;
    write_running(layout, &nodes)?;
    result
}

async fn supervise(layout: &Layout, nodes: &mut [Node]) -> Result<(), CliError> {
    await_ready(layout, nodes).await?;
    greet(layout, nodes).await?;
    loop {
        let Some(index) = next_change(nodes).await else { continue };
        let node = &mut nodes[index];
        if let Some(child) = &mut node.child {
            let status = child.wait().await?;
            node.child = None;
            node.plan_restart(status, layout);
        } else {
            nodes[index] = Node::start(layout, node.id)?;
            note(format_args!("node {} is started again", nodes[index].id));
        }
        write_running(layout, nodes)?;
    }
}

/// The index of a node that ended, or whose time to start again has come.
async fn next_change(nodes: &mut [Node]) -> Option<usize> {
    let waits = nodes.iter_mut().enumerate().map(|(index, node)| {
        Box::pin(async move {
            match (&mut node.child, node.restart_at) {
                // The status is asked for again by whoever handles the end.
                (Some(child), _) => drop(child.wait().await),
                (None, Some(at)) => tokio::time::sleep_until(at).await,
                (None, None) => std::future::pending().await,
            }
            index
        })
    });
    let (index, _, _) = futures_util::future::select_all(waits).await;
    Some(index)
}

async fn await_ready(layout: &Layout, nodes: &mut [Node]) -> Result<(), CliError> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build()?;
    let deadline = Instant::now() + READY_WITHIN;
    for node in nodes {
        let url = format!("http://{}/ready", layout.address(node.id));
        let log = layout.node_dir(node.id).join("node.log");
        loop {
            let answer = http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            if let Some(child) = &mut node.child
                && let Some(status) = child.try_wait()?
            {
                let id = node.id;
                let last = last_line(&log);
                return Err(format!("node {id} ended ({status}): {last}").into());
            }
            if deadline < Instant::now() {
                let (id, log) = (node.id, log.display());
                return Err(format!("node {id} found no leader in time; its log is {log}").into());
            }
            sleep(READY_POLL).await;
        }
    }
    Ok(())
}

fn last_line(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or("its log is empty");
    last.trim_start_matches("synckairos: ").to_owned()
}

async fn greet(layout: &Layout, nodes: &[Node]) -> Result<(), CliError> {
    let status = status::of(&running(layout, nodes)).await?;
    print(status.table())?;
    let node_dir = layout.node_dir(1);
    let dir = node_dir.parent().unwrap_or(&node_dir).display();
    let program = std::env::current_exe()?;
    print(format_args!(
        "\nTry it:\n  {create}\n\n\
         API:    http://{first}/api-docs/\n\
         Logs:   {dir}/node-*/node.log\n\
         Status: {program} dev status --data-dir {dir}\n\
         Kill a node (kill -9 PID) and go on: it comes back after {restart} s. Ctrl-C stops all.",
        create = first_command(&layout.address(1)),
        first = layout.address(1),
        restart = RESTART_AFTER.as_secs(),
        program = program.display(),
    ))
}

/// Makes a session of two players with a minute each.
fn first_command(address: &str) -> String {
    format!(
        "curl -s http://{address}/v1/sessions -H 'Content-Type: application/json' -d '{{\
         \"session_id\":\"{}\",\"sync_mode\":\"per_participant\",\"total_time_ms\":120000,\
         \"participants\":[\
         {{\"participant_id\":\"{}\",\"participant_index\":0,\"total_time_ms\":60000}},\
         {{\"participant_id\":\"{}\",\"participant_index\":1,\"total_time_ms\":60000}}]}}'",
        uuid::Uuid::now_v7(),
        uuid::Uuid::now_v7(),
        uuid::Uuid::now_v7(),
    )
}

async fn stop(nodes: &mut [Node]) {
    for node in nodes.iter() {
        node.signal(Signal::TERM);
    }
    let deadline = Instant::now() + STOP_WITHIN;
    for node in nodes.iter_mut() {
        let Some(mut child) = node.child.take() else { continue };
        let left = deadline.saturating_duration_since(Instant::now());
        if timeout(left, child.wait()).await.is_err() {
            note(format_args!("node {} does not stop and is killed", node.id));
            // What cannot be killed has ended by itself.
            let _ = child.kill().await;
        }
    }
}

fn write_running(layout: &Layout, nodes: &[Node]) -> Result<(), LayoutError> {
    layout.write_running(&running(layout, nodes))
}

fn running(layout: &Layout, nodes: &[Node]) -> Running {
    let nodes = nodes
        .iter()
        .map(|node| RunningNode {
            id: node.id,
            http: layout.address(node.id),
            peer: layout.address(node.id),
            pid: node.child.as_ref().and_then(Child::id),
        })
        .collect();
    Running { nodes }
}

impl Node {
    fn start(layout: &Layout, id: u64) -> Result<Self, CliError> {
        let path = layout.node_dir(id).join("node.log");
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(io_at(&path))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["serve", "--exit-with-parent", "--config"])
            .arg(layout.config_file(id))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the supervisor, which then stops the nodes in good order.
            .process_group(0);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let child = command.spawn()?;
        Ok(Self { id, child: Some(child), started: Instant::now(), restart_at: None })
    }

    fn plan_restart(&mut self, status: ExitStatus, layout: &Layout) {
        let id = self.id;
        let last = last_line(&layout.node_dir(id).join("node.log"));
        if status.success() {
            note(format_args!("node {id} was stopped and stays down; the others go on"));
        } else if status.signal().is_none() && self.started.elapsed() < HOPELESS_WITHIN {
            note(format_args!("node {id} ended at once ({status}) and stays down: {last}"));
        } else {
            note(format_args!("node {id} ended ({status}); the others go on"));
            self.restart_at = Some(Instant::now() + RESTART_AFTER);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            // A process that has ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}
