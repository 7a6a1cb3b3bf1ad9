//! From one version of the program to another, node by node, and back until that is final.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{RESTARTS, all_well, restart, restarts};
use crate::{
    db::{cluster::Cluster, node::Node, program::Program},
    nemesis::{Active, FaultOutcome, Form, Planned, Target},
};

const NODE_BY_NODE: &str = "node-by-node";
const FINALIZE: &str = "finalize";

pub(super) const FORMS: [Form; 3] = [
    Form { word: NODE_BY_NODE, targets: &[Target::All], for_ms: (2_000, 8_000) },
    Form { word: NODE_BY_NODE, targets: &[Target::All], for_ms: (500, 3_000) },
    Form { word: FINALIZE, targets: &[Target::All], for_ms: (1_000, 4_000) },
];

/// A node that was just started is not heard by all at once.
const FINAL_WITHIN: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(300);

/// The first node runs the new version when this returns, and the others the old one: those that
/// had been upgraded before go back.
pub(super) async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let older = cluster.older.clone();
    let older =
        older.ok_or_else(|| FaultOutcome::skipped("no older program was given: --bin-old"))?;
    if cluster.upgrade_is_final.load(Ordering::Relaxed) {
        return Err(FaultOutcome::skipped("the upgrade is final, so there is no way back"));
    }
    if let Some(down) = nodes.iter().find(|node| !node.runs()) {
        return Err(FaultOutcome::skipped(format!("{} does not run", down.name)));
    }
    let newest = cluster.newest();
    let mut active = Active::on(cluster, nodes.clone()).await.with(RESTARTS, json!([]));
    for node in nodes.iter().filter(|node| node.has_program(&newest)) {
        if all_well(&active) {
            change(cluster, planned, (node, &older), &mut active).await;
        }
    }
    if let Some(first) = nodes.first().filter(|_| all_well(&active)) {
        change(cluster, planned, (first, &newest), &mut active).await;
    }
    Ok(active)
}

/// All nodes run the new version.
pub(super) async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    let newest = cluster.newest();
    for node in active.nodes.clone() {
        // Also where one before it did not come back: what is left of it is to be of one version.
        if !node.has_program(&newest) {
            change(cluster, planned, (&node, &newest), active).await;
        }
    }
    if !all_well(active) {
        let is_ill = |one: &&Value| one["code"] != 0 || !one["ready_ms"].is_u64();
        let ill = restarts(active).iter().find(is_ill).cloned().unwrap_or_default();
        return FaultOutcome::Unseen(format!("one did not stop in good order or come back: {ill}"));
    }
    if planned.form == FINALIZE {
        match finalize(cluster).await {
            Ok(level) => {
                let raised = level["before"].as_u64() < level["level"].as_u64();
                cluster.upgrade_is_final.fetch_or(raised, Ordering::Relaxed);
                active.note("level", level);
            }
            Err(refusal) => return FaultOutcome::Unseen(refusal),
        }
    }
    FaultOutcome::Bit
}

async fn change(
    cluster: &Cluster,
    planned: &Planned,
    (node, program): (&Arc<Node>, &Program),
    active: &mut Active,
) {
    let leader = cluster.leader().await.map(|leader| leader.id);
    node.set_program(program);
    let because = planned.trouble.as_str();
    let mut told = restart(cluster, node, &because, Some(node.id) == leader).await;
    told["version"] = json!(if *program == cluster.newest() { "newest" } else { "older" });
    if let Some(Value::Array(restarts)) = active.evidence.get_mut(RESTARTS) {
        restarts.push(told);
    }
}

/// Makes an end of the upgrade; the level before and after.
async fn finalize(cluster: &Cluster) -> Result<Value, String> {
    let deadline = Instant::now() + FINAL_WITHIN;
    loop {
        let Some(at) = cluster.leader().await else {
            if deadline <= Instant::now() {
                return Err(String::from("no node leads"));
            }
            sleep(TRY_EVERY).await;
            continue;
        };
        match cluster.operate_json(&at, &["cluster", "upgrade", "finalize"]).await {
            Ok(level) => return Ok(level),
            Err(refusal) if deadline <= Instant::now() => return Err(refusal.to_string()),
            Err(_) => sleep(TRY_EVERY).await,
        }
    }
}
