//! Syncs and writes that fail: the node ends, and acknowledges nothing that it could not make
//! durable.

use std::{io, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::{DISK_FAILED, recover, tracer};
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Planned, Target},
};

const SYNC_FAILS: &str = "sync-fails";
/// The kernel tells of a failed write-back once. Whoever tries again is told that all is well, and
/// has lost it all the same.
const SYNC_FAILS_ONCE: &str = "sync-fails-once";
const WRITE_FAILS: &str = "write-fails";

const LEADER: &[Target] = &[Target::Leader];
const FOLLOWER: &[Target] = &[Target::Followers, Target::One];
const SHORT: (u64, u64) = (300, 2_000);

pub(super) const FORMS: &[Form] = &[
    Form { word: SYNC_FAILS, targets: LEADER, for_ms: SHORT },
    Form { word: SYNC_FAILS_ONCE, targets: FOLLOWER, for_ms: SHORT },
    Form { word: WRITE_FAILS, targets: LEADER, for_ms: SHORT },
    Form { word: SYNC_FAILS, targets: FOLLOWER, for_ms: SHORT },
    Form { word: SYNC_FAILS_ONCE, targets: LEADER, for_ms: SHORT },
    Form { word: WRITE_FAILS, targets: FOLLOWER, for_ms: SHORT },
];

const ENDS_WITHIN: Duration = Duration::from_secs(10);
const BECAUSE: &str = "disk-error";

pub(super) async fn begin(
    planned: &Planned,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    let files = if planned.form == WRITE_FAILS {
        tracer::log_files(&node.storage.data()).map_err(FaultOutcome::indeterminate)?
    } else {
        Vec::new()
    };
    let calls = if files.is_empty() { tracer::SYNCS } else { tracer::WRITES };
    // The first few may succeed. Each thread counts its own.
    let first = ChaCha8Rng::seed_from_u64(planned.pick).random_range(1..=6_u32);
    let more = if planned.form == SYNC_FAILS_ONCE { "" } else { "+" };
    let how = format!("error=EIO:when={first}{more}");
    node.expect_end(BECAUSE, &[DISK_FAILED]);
    let tracer = tracer::attach(node, &tracer::Spoil { calls, how: &how, files: &files }).await;
    let tracer = tracer.map_err(|error| {
        node.expect_life();
        FaultOutcome::skipped(error.to_string())
    })?;
    active.helpers.push(tracer);
    active.note("how", json!(how));
    Ok(())
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let ended = node.await_end(ENDS_WITHIN).await;
    tracer::detach(&mut active.helpers).await;
    let code = node.exits().last().filter(|_| ended).and_then(|exit| exit.code);
    let failed = tracer::spoiled(node);
    active.note("failed_calls", json!(failed));
    active.note("ended_with", json!(code));
    if !ended {
        active.note(super::WENT_ON, json!(0 < failed));
        node.kill(BECAUSE).await;
    }
    recover::start(cluster, node, (BECAUSE, &[]), active).await?;
    Ok(FaultOutcome::seen(0 < failed, "the node wrote nothing meanwhile"))
}
