//! Little processor time: a node that is slow, but not away.
//!
//! Where the kernel lets us it is given a quota; elsewhere it is stopped most of the time, for less
//! than an election takes.

mod quota;

use std::{sync::Arc, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::quota::Quota;
use super::{Active, FaultOutcome, Form, Planned, Seen, Target};
use crate::db::{cluster::Cluster, node::Node};

/// Of a hundred: what is left of one processor.
const SHARE_MIN: u64 = 5;
const SHARE_MAX: u64 = 20;
/// A turn of both ways: shorter than any election time-out, so that the node is slow, not gone.
const TURN_MS: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the evidence calls how often a node was stopped.
const STOPS: &str = "stops";
const THROTTLED: &str = "throttled";
const BY: &str = "by";

const SQUEEZE: &[Form] = &[
    Form { word: "leader", targets: &[Target::Leader], for_ms: (3_000, 10_000) },
    Form { word: "one", targets: &[Target::One], for_ms: (3_000, 10_000) },
];

pub const fn forms() -> &'static [Form] {
    SQUEEZE
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let node = nodes.into_iter().find(|node| node.runs());
    let node = node.ok_or_else(|| FaultOutcome::skipped("the chosen node does not run"))?;
    let percent = SHARE_MIN + planned.pick % (SHARE_MAX - SHARE_MIN + 1);
    let mut active = Active::on(cluster, vec![Arc::clone(&node)]).await;
    active.note("percent", percent);
    let quota = Quota::of(planned.id);
    let turn = (percent * TURN_MS / 100, TURN_MS);
    let task = match quota.install(turn) {
        Ok(()) => {
            active.note(BY, "quota");
            hold(&quota, &node);
            tokio::spawn(keep(quota, node))
        }
        Err(error) => {
            active.note(BY, "signals");
            active.note("no_quota", error.to_string());
            tokio::spawn(stutter(node, turn, active.seen.clone()))
        }
    };
    active.tasks.push(task);
    Ok(active)
}

pub async fn end(planned: &Planned, active: &mut Active) -> FaultOutcome {
    if active.evidence.get(BY).and_then(Value::as_str) == Some("quota") {
        let quota = Quota::of(planned.id);
        let told = quota.told();
        active.note(THROTTLED, json!(told.throttled));
        active.note("throttled_ms", json!(told.throttled_ms));
        if let Err(error) = quota.remove().await {
            return FaultOutcome::indeterminate(error);
        }
        return FaultOutcome::seen(0 < told.throttled, "it never used all that it was given");
    }
    for node in &active.nodes {
        node.signal(Signal::CONT);
    }
    let stops = active.evidence.get(STOPS).and_then(Value::as_u64).unwrap_or(0);
    FaultOutcome::seen(0 < stops, "it was never stopped")
}

/// Holds the node, also when another fault has it started again.
async fn keep(quota: Quota, node: Arc<Node>) {
    loop {
        sleep(LOOK_EVERY).await;
        hold(&quota, &node);
    }
}

fn hold(quota: &Quota, node: &Node) {
    if let Some(pid) = node.pid() {
        // A process that has just ended needs none.
        let _ = quota.hold(pid);
    }
}

/// Runs for a part of every turn and stands still for the rest of it.
async fn stutter(node: Arc<Node>, (run_ms, turn_ms): (u64, u64), seen: Seen) {
    loop {
        node.signal(Signal::STOP);
        seen.count(STOPS);
        sleep(Duration::from_millis(turn_ms - run_ms)).await;
        node.signal(Signal::CONT);
        sleep(Duration::from_millis(run_ms)).await;
    }
}
