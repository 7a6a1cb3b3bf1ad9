//! Power that fails: what was not synced is gone.

use std::{fs, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use super::{Active, FaultOutcome, Form, Planned, Target, Trouble};
use crate::db::{cluster::Cluster, node::Node};

const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// With which a node ends whose disk failed.
const DISK_FAILED: i32 = 74;

const POWER: &[Form] = &[
    Form { word: "all-at-once", targets: &[Target::All], for_ms: (200, 1_500) },
    Form { word: "leader", targets: &[Target::Leader], for_ms: (200, 3_000) },
    Form { word: "one", targets: &[Target::One], for_ms: (200, 3_000) },
    Form { word: "majority", targets: &[Target::LeaderAndMinority], for_ms: (200, 2_000) },
];

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    match trouble {
        Trouble::Power => POWER,
        _ => &[],
    }
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    if !nodes.iter().all(|node| node.storage.has_power()) {
        return Err(FaultOutcome::skipped("needs --disk loop-ext4 or loop-xfs, which needs root"));
    }
    let mut active = Active::on(cluster, nodes.clone()).await;
    let because = planned.trouble.as_str();
    for node in &nodes {
        // One that still writes before the signal comes sees its disk fail, and ends by itself.
        node.expect_end(&because, &[DISK_FAILED]);
        // It is not synced, so a power failure that was one takes it.
        let canary = node.storage.mounted_at().join("canary");
        fs::write(canary, "this was not synced").map_err(FaultOutcome::indeterminate)?;
    }
    // All disks lose their power before any process ends.
    let cuts = join_all(nodes.iter().map(|node| node.storage.power_off())).await;
    for node in &nodes {
        node.signal(Signal::KILL);
    }
    join_all(nodes.iter().map(|node| node.await_end(KILLED_WITHIN))).await;
    let failed: Vec<String> =
        cuts.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    active.note("failed", json!(failed));
    Ok(active)
}

pub async fn end(_cluster: &Cluster, _planned: &Planned, active: &mut Active) -> FaultOutcome {
    let mut forgotten = Vec::new();
    for node in &active.nodes {
        if let Err(error) = node.storage.power_on().await {
            return FaultOutcome::indeterminate(error);
        }
        let canary = node.storage.mounted_at().join("canary");
        forgotten.push(fs::read(&canary).map_or(true, |left| left.is_empty()));
        // What is left of it must not stand for the next one.
        let _ = fs::remove_file(&canary);
        if let Err(error) = node.start() {
            return FaultOutcome::indeterminate(error);
        }
    }
    let seen = forgotten.contains(&true);
    active.note("forgot_what_was_not_synced", json!(forgotten));
    FaultOutcome::seen(seen, "the disk kept what was not synced")
}
