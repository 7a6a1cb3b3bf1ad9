//! Syncs that fail: the node ends, and acknowledges nothing that it could not make durable.

use std::{io, sync::Arc, time::Duration};

use serde_json::json;

use super::{DISK_FAILED, recover, tracer};
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Target},
};

pub(super) const FORMS: &[Form] = &[
    Form { word: "sync-fails", targets: &[Target::Leader], for_ms: (300, 2_000) },
    Form { word: "sync-fails", targets: &[Target::Followers, Target::One], for_ms: (300, 2_000) },
];

const ENDS_WITHIN: Duration = Duration::from_secs(10);
const BECAUSE: &str = "disk-error";

pub(super) async fn begin(node: &Node, active: &mut Active) -> Result<(), FaultOutcome> {
    node.expect_end(BECAUSE, &[DISK_FAILED]);
    let tracer = tracer::attach(node, "error=EIO").await;
    let tracer = tracer.map_err(|error| {
        node.expect_life();
        FaultOutcome::skipped(error.to_string())
    })?;
    active.helpers.push(tracer);
    Ok(())
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let ended = node.await_end(ENDS_WITHIN).await;
    active.helpers.clear();
    let code = node.exits().last().filter(|_| ended).and_then(|exit| exit.code);
    active.note("failed_syncs", json!(tracer::spoiled(node)));
    active.note("ended_with", json!(code));
    if !ended {
        // It goes on after a failed sync, or never synced.
        node.kill(BECAUSE).await;
    }
    recover::start(cluster, node, (BECAUSE, &[]), active).await?;
    Ok(match (tracer::spoiled(node), ended) {
        (0, _) => FaultOutcome::Unseen(String::from("the node synced nothing meanwhile")),
        (_, true) => FaultOutcome::Bit,
        (_, false) => {
            FaultOutcome::Unseen(String::from("the node went on after a sync had failed"))
        }
    })
}
