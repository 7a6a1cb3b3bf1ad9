//! What Raft does by itself or is asked to do, at the worst of moments: the leadership moves, and
//! followers need snapshots.

mod snapshot;
mod transfer;

use std::sync::Arc;

use super::{Active, FaultOutcome, Form, Planned, Trouble};
use crate::db::{cluster::Cluster, node::Node};

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    if matches!(trouble, Trouble::Transfer) { &transfer::FORMS } else { &snapshot::FORMS }
}

pub async fn begin(
    cluster: &Arc<Cluster>,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    if planned.trouble == Trouble::Transfer {
        transfer::begin(cluster, planned).await
    } else {
        snapshot::begin(cluster, planned, nodes).await
    }
}

pub async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    if planned.trouble == Trouble::Transfer {
        transfer::end(cluster, active).await
    } else {
        snapshot::end(cluster, planned, active).await
    }
}
