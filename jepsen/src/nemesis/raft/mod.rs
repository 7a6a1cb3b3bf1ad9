//! What Raft does by itself or is asked to do, at the worst of moments: the leadership moves, nodes
//! come and go, and followers need snapshots.

mod membership;
mod snapshot;
mod transfer;

use std::sync::Arc;

use super::{Active, FaultOutcome, Form, Planned, Trouble};
use crate::db::{cluster::Cluster, node::Node};

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    match trouble {
        Trouble::Transfer => &transfer::FORMS,
        Trouble::Membership => &membership::FORMS,
        Trouble::Snapshot => &snapshot::FORMS,
        _ => &[],
    }
}

pub async fn begin(
    cluster: &Arc<Cluster>,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    match planned.trouble {
        Trouble::Transfer => transfer::begin(cluster, planned).await,
        Trouble::Membership => membership::begin(cluster, planned, nodes).await,
        _ => snapshot::begin(cluster, planned, nodes).await,
    }
}

pub async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    match planned.trouble {
        Trouble::Transfer => transfer::end(cluster, active).await,
        Trouble::Membership => membership::end(cluster, planned, active).await,
        _ => snapshot::end(cluster, planned, active).await,
    }
}
