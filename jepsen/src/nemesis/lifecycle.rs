//! Every node is stopped and started again, one after the other, as operators do it.

mod upgrade;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Active, FaultOutcome, Form, Planned, Target, Trouble, look};
use crate::db::{cluster::Cluster, node::Node};

/// A node gives itself fifteen seconds to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const READY_WITHIN: Duration = Duration::from_secs(15);

const LEADER_LAST: &str = "leader-last";
const LEADER_FIRST: &str = "leader-first";
/// What was done to each node, in this order.
const RESTARTS: &str = "restarts";

const ROLLING: &[Form] = &[
    Form { word: LEADER_LAST, targets: &[Target::All], for_ms: (200, 1_500) },
    Form { word: LEADER_FIRST, targets: &[Target::All], for_ms: (200, 1_500) },
];

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    match trouble {
        Trouble::RollingRestart => ROLLING,
        Trouble::Upgrade => &upgrade::FORMS,
        _ => &[],
    }
}

/// Restarts the first node; the others follow when it has been back for a while.
pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    if planned.trouble == Trouble::Upgrade {
        return upgrade::begin(cluster, planned, nodes).await;
    }
    if let Some(down) = nodes.iter().find(|node| !node.runs()) {
        return Err(FaultOutcome::skipped(format!("{} does not run", down.name)));
    }
    let mut active = Active::on(cluster, nodes).await.with(RESTARTS, json!([]));
    // Where the first one does not come back, the end of the fault says so.
    let _ = restart_next(cluster, planned, &mut active).await;
    Ok(active)
}

pub async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    if planned.trouble == Trouble::Upgrade {
        return upgrade::end(cluster, planned, active).await;
    }
    while all_well(active) {
        if !restart_next(cluster, planned, active).await {
            break;
        }
    }
    let done = restarted(active);
    let missing = active.nodes.iter().find(|node| !done.contains(&node.name));
    match missing {
        None => FaultOutcome::seen(all_well(active), "the last one did not get ready"),
        Some(node) => FaultOutcome::Unseen(format!(
            "{} was not restarted, because the one before it did not stop in good order or did not \
             get ready",
            node.name
        )),
    }
}

/// Those that were restarted, in whatever way.
fn restarted(active: &Active) -> BTreeSet<String> {
    let names = restarts(active).iter().filter_map(|one| one["node"].as_str());
    names.map(str::to_owned).collect()
}

fn restarts(active: &Active) -> &[Value] {
    active.evidence.get(RESTARTS).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Did every one that was restarted stop in good order and come back?
fn all_well(active: &Active) -> bool {
    restarts(active).iter().all(|one| one["code"] == 0 && one["ready_ms"].is_u64())
}

/// Restarts one that was not restarted yet and waits until it is ready; `false` where none is left.
async fn restart_next(cluster: &Cluster, planned: &Planned, active: &mut Active) -> bool {
    let done = restarted(active);
    let mut left: Vec<_> =
        active.nodes.iter().filter(|node| !done.contains(&node.name)).cloned().collect();
    let leader = cluster.leader().await.map(|leader| leader.id);
    left.sort_by_key(|node| (Some(node.id) == leader) != (planned.form == LEADER_FIRST));
    let Some(node) = left.first() else { return false };
    let told = restart(cluster, node, &planned.trouble.as_str(), Some(node.id) == leader).await;
    if let Some(Value::Array(restarts)) = active.evidence.get_mut(RESTARTS) {
        restarts.push(told);
    }
    true
}

/// Stops a node in good order, starts it, and waits until it is ready; what was seen of it.
async fn restart(cluster: &Cluster, node: &Node, because: &str, led: bool) -> Value {
    let (before, at_ns, began) = (node.pid(), cluster.recorder.now_ns(), Instant::now());
    node.terminate(because, STOP_WITHIN).await;
    let code = node.exits().last().and_then(|exit| exit.code);
    let stopped_ms = millis(began);
    let mut told = json!({
        "node": node.name,
        "led": led,
        "at_ns": at_ns,
        "pid_before": before,
        "code": code,
        "stopped_ms": stopped_ms,
    });
    if let Err(error) = node.start() {
        told["not_started"] = json!(error.to_string());
        return told;
    }
    told["pid_after"] = json!(node.pid());
    let began = Instant::now();
    if look::await_caught_up(cluster, node, READY_WITHIN).await {
        told["ready_ms"] = json!(millis(began));
    }
    told
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_did_not_come_back_ends_it() {
        let after = |restarts: Value| Active::default().with(RESTARTS, restarts);
        let well = json!({"node": "n2", "code": 0, "ready_ms": 300});
        let active = after(json!([well]));
        assert!(all_well(&active));
        assert_eq!(restarted(&active), BTreeSet::from([String::from("n2")]));
        for ill in [
            json!({"node": "n1", "code": 0}),
            json!({"node": "n1", "code": 70, "ready_ms": 300}),
            json!({"node": "n1", "code": null, "ready_ms": 300}),
        ] {
            assert!(!all_well(&after(json!([well, ill]))), "{ill}");
        }
    }
}
