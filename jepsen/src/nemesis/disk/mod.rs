//! Disks that fail, hang, fill up, lie and forget. Each fault is of one node alone: of a majority
//! that lost what it had synced nothing is promised.

mod corrupt;
mod fail;
mod full;
mod lie;
mod loss;
mod recover;
mod slow;
mod tracer;

use std::sync::Arc;

use super::{Active, FaultOutcome, Form, Planned, Trouble};
use crate::db::{cluster::Cluster, node::Node};

/// With which a node ends whose data is damaged.
const DAMAGED: i32 = 65;
/// With which a node ends whose disk failed.
const DISK_FAILED: i32 = 74;
/// With which a node ends that will not go on with the data that it has: another node's, or older
/// than what its peers know that it had.
const REFUSED: i32 = 1;

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    match trouble {
        Trouble::DiskError => fail::FORMS,
        Trouble::SlowDisk => slow::FORMS,
        Trouble::DiskFull => full::FORMS,
        Trouble::LyingDisk => lie::FORMS,
        Trouble::Corrupt => corrupt::FORMS,
        Trouble::DataLoss => loss::FORMS,
        _ => &[],
    }
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let members = cluster.members();
    if members.len() < 3 || members.iter().any(|node| !node.runs()) {
        return Err(FaultOutcome::skipped("not all nodes run"));
    }
    if recover::await_all(cluster).await.is_err() {
        return Err(FaultOutcome::skipped("not all nodes are ready, so none may fail"));
    }
    let Some(node) = nodes.into_iter().next() else {
        return Err(FaultOutcome::skipped("no node was chosen"));
    };
    let mut active = Active::on(cluster, vec![Arc::clone(&node)]).await;
    match planned.trouble {
        Trouble::DiskError => fail::begin(&node, &mut active).await?,
        Trouble::SlowDisk => slow::begin(planned, &node, &mut active).await?,
        Trouble::DiskFull => full::begin(&node, &mut active)?,
        Trouble::LyingDisk => lie::begin(cluster, &node, &mut active).await?,
        Trouble::Corrupt => corrupt::begin(planned, &node, &mut active).await?,
        _ => loss::begin(planned, cluster, &node, &mut active).await?,
    }
    Ok(active)
}

pub async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    let Some(node) = active.nodes.first().cloned() else {
        return FaultOutcome::indeterminate("its node is not known any more");
    };
    let ended = match planned.trouble {
        Trouble::DiskError => fail::end(cluster, &node, active).await,
        Trouble::SlowDisk => slow::end(&node, active).await,
        Trouble::DiskFull => full::end(cluster, &node, active).await,
        Trouble::LyingDisk => lie::end(cluster, &node, active).await,
        Trouble::Corrupt => corrupt::end(cluster, &node, active).await,
        _ => loss::end(cluster, planned, &node, active).await,
    };
    ended.unwrap_or_else(FaultOutcome::indeterminate)
}
