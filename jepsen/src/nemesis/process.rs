//! Processes that are killed, stopped in good order, or stand still.

use std::{fs, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use super::{Active, FaultOutcome, Form, Planned, Target, Trouble, driver};
use crate::db::{cluster::Cluster, node::Node};

/// A node gives itself fifteen seconds to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const KILLED_WITHIN: Duration = Duration::from_secs(5);
const STOPPED_WITHIN: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const CRASH_LOOP_EVERY: Duration = Duration::from_millis(400);
const FLICKER_EVERY: Duration = Duration::from_millis(100);

const KILL: &[Form] = &[
    Form { word: "one", targets: &[Target::One], for_ms: (200, 4_000) },
    Form { word: "leader", targets: &[Target::Leader], for_ms: (200, 4_000) },
    Form { word: "all-at-once", targets: &[Target::All], for_ms: (200, 1_500) },
    Form { word: "majority", targets: &[Target::LeaderAndMinority], for_ms: (200, 3_000) },
    Form { word: "leader", targets: &[Target::Leader], for_ms: (200, 4_000) },
    Form { word: "crash-loop", targets: &[Target::One, Target::Leader], for_ms: (1_500, 4_000) },
];
const STOP: &[Form] = &[
    Form { word: "leader", targets: &[Target::Leader], for_ms: (200, 3_000) },
    Form { word: "minority", targets: &[Target::Minority], for_ms: (200, 3_000) },
];
const PAUSE: &[Form] = &[
    Form { word: "leader", targets: &[Target::Leader], for_ms: (300, 8_000) },
    Form { word: "across-election-timeout", targets: &[Target::Leader], for_ms: (300, 1_200) },
    Form { word: "minority", targets: &[Target::Minority], for_ms: (300, 6_000) },
    Form { word: "flicker", targets: &[Target::One, Target::Leader], for_ms: (1_000, 4_000) },
    Form { word: "majority", targets: &[Target::Majority], for_ms: (300, 4_000) },
    Form { word: "all", targets: &[Target::All], for_ms: (300, 3_000) },
];

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    match trouble {
        Trouble::Kill => KILL,
        Trouble::Stop => STOP,
        Trouble::Pause => PAUSE,
        _ => &[],
    }
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let nodes: Vec<Arc<Node>> = nodes.into_iter().filter(|node| node.runs()).collect();
    if nodes.is_empty() {
        return Err(FaultOutcome::skipped("none of the chosen nodes runs"));
    }
    let terms = driver::terms(cluster).await;
    let mut active = Active::on(cluster, nodes.clone()).await.with("terms_before", json!(terms));
    let because = planned.trouble.as_str();
    match planned.trouble {
        Trouble::Stop => {
            let ends = nodes.iter().map(|node| node.terminate(&because, STOP_WITHIN));
            let ended = join_all(ends).await;
            active.note("ended_in_good_order", json!(ended));
        }
        Trouble::Pause => {
            let signals = || nodes.iter().for_each(|node| node.signal(Signal::STOP));
            signals();
            let stopped = join_all(nodes.iter().map(|node| await_stopped(node))).await;
            active.note("stopped", json!(stopped));
            if planned.form == "flicker" {
                active.tasks.push(tokio::spawn(flicker(nodes)));
            }
        }
        _ => {
            let before: Vec<_> = nodes.iter().map(|node| node.pid()).collect();
            kill_together(&nodes, &because).await;
            let gone: Vec<bool> =
                nodes.iter().zip(before).map(|(node, pid)| node.pid() != pid).collect();
            active.note("gone", json!(gone));
            if planned.form == "crash-loop" {
                active.tasks.push(tokio::spawn(crash_loop(nodes, because)));
            }
        }
    }
    Ok(active)
}

pub async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    for node in &active.nodes {
        node.signal(Signal::CONT);
        if let Err(error) = node.start() {
            return FaultOutcome::indeterminate(error);
        }
    }
    active.note("terms_after", json!(driver::terms(cluster).await));
    let fact = match planned.trouble {
        Trouble::Stop => "ended_in_good_order",
        Trouble::Pause => "stopped",
        _ => "gone",
    };
    let seen = active.evidence.get(fact).and_then(|seen| seen.as_array());
    let seen = seen.is_some_and(|seen| seen.iter().any(|one| one == true));
    FaultOutcome::seen(seen, "no process was seen to be hit")
}

/// All signals first, then the waiting: nodes that die at once die within a millisecond.
async fn kill_together(nodes: &[Arc<Node>], because: &str) {
    for node in nodes {
        node.expect_end(because, &[]);
    }
    for node in nodes {
        node.signal(Signal::KILL);
    }
    join_all(nodes.iter().map(|node| node.await_end(KILLED_WITHIN))).await;
}

async fn crash_loop(nodes: Vec<Arc<Node>>, because: String) {
    loop {
        for node in &nodes {
            // Where it cannot start, the end of the fault says so.
            let _ = node.start();
        }
        tokio::time::sleep(CRASH_LOOP_EVERY).await;
        kill_together(&nodes, &because).await;
    }
}

async fn flicker(nodes: Vec<Arc<Node>>) {
    loop {
        for signal in [Signal::CONT, Signal::STOP] {
            tokio::time::sleep(FLICKER_EVERY).await;
            nodes.iter().for_each(|node| node.signal(signal));
        }
    }
}

/// As the kernel has it: all its threads stop a moment after the signal.
async fn await_stopped(node: &Node) -> bool {
    let deadline = Instant::now() + STOPPED_WITHIN;
    loop {
        let Some(pid) = node.pid() else { return false };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.lines().any(|line| line.starts_with("State:") && line.contains("(stopped)")) {
            return true;
        }
        if deadline <= Instant::now() {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
