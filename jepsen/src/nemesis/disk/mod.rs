//! Disks that fail, hang, fill up, lie and forget. Each fault is of one node alone: of a majority
//! that lost what it had synced nothing is promised.

mod corrupt;
mod fail;
mod full;
mod lie;
mod loss;
mod recover;
pub(crate) mod slow;
mod tracer;

use std::sync::Arc;

use super::{Active, FaultOutcome, Form, Planned, Trouble};
use crate::db::{cluster::Cluster, node::Node};

/// With which a node ends whose data is damaged.
const DAMAGED: i32 = 65;
/// With which a node ends whose disk failed.
const DISK_FAILED: i32 = 74;
/// With which a node ends whose data is another node's, or not there. Documented nowhere; the message
/// says what is wrong.
const NOT_ITS_OWN: i32 = 1;

/// Evidence that the node went on after a write or a sync had failed.
pub(crate) const WENT_ON: &str = "went_on";
/// Evidence that the node ran, was of no use, and did not say so by ending.
pub(crate) const STUCK: &str = "stuck";
/// Evidence that the node had lost all of its data, and votes on under its own id: it may elect one
/// that lacks what was committed with its help, or vote twice in a term.
pub(crate) const FORGOT_ALL: &str = "forgot_all";
/// Evidence that the node took data for its own that is not.
pub(crate) const TOOK_FOREIGN: &str = "took_foreign";

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
    if let Err(missing) = recover::await_all(cluster).await {
        return Err(FaultOutcome::skipped(format!("none may fail: {missing}")));
    }
    let Some(node) = nodes.into_iter().next() else {
        return Err(FaultOutcome::skipped("no node was chosen"));
    };
    let mut active = Active::on(cluster, vec![Arc::clone(&node)]).await;
    match planned.trouble {
        Trouble::DiskError => fail::begin(planned, &node, &mut active).await?,
        Trouble::SlowDisk => slow::begin(planned, &node, &mut active).await?,
        Trouble::DiskFull => full::begin(&node, &mut active).await?,
        Trouble::LyingDisk => lie::begin(cluster, &node, &mut active).await?,
        Trouble::Corrupt => corrupt::begin(cluster, planned, &node, &mut active).await?,
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
