//! What the engine knows of itself and of its followers at one moment, in our own words.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{async_runtime::WatchReceiver, rt::Instant as _};
use synckairos_raft_store::raft_types::PeerNode;

use super::Raft;

/// One node's view of its cluster.
#[derive(Clone, Debug)]
pub(crate) struct Vitals {
    pub(crate) node: u64,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub(crate) role: &'static str,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    /// Index of the last entry in the log.
    pub(crate) last_log: u64,
    /// Index of the last entry that is known to be committed.
    pub(crate) committed: u64,
    /// Index of the last entry applied.
    pub(crate) applied: u64,
    /// Index of the entry that made the membership; `None` before there is one.
    pub(crate) membership_index: Option<u64>,
    /// The groups of voters of which each needs a majority: one, or two during a change.
    pub(crate) voters: Vec<BTreeSet<u64>>,
    pub(crate) members: BTreeMap<u64, PeerNode>,
    /// How long ago a majority confirmed this node as the leader; as the leader only.
    pub(crate) majority_heard: Option<Duration>,
    /// As the leader only.
    pub(crate) followers: BTreeMap<u64, Follower>,
}

/// What the leader knows of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    /// Up to which index its log is known to match.
    pub(crate) matched: u64,
    /// How long ago it last answered.
    pub(crate) heard: Option<Duration>,
}

impl Vitals {
    pub(crate) fn of(raft: &Raft) -> Self {
        let metrics = raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let alone = membership.voter_ids().count() == 1;
        let leads = metrics.state.is_leader();
        // A node alone is its own majority, and the engine does not say so again and again.
        let majority_heard = match metrics.last_quorum_acked {
            _ if leads && alone => Some(Duration::ZERO),
            acked => acked.map(|acked| acked.elapsed()),
        };
        let heard = metrics.heartbeat.unwrap_or_default();
        let followers = metrics.replication.unwrap_or_default().into_iter();
        let followers = followers.filter(|(node, _)| *node != metrics.id).map(|(node, matched)| {
            let heard = heard.get(&node).and_then(|heard| *heard).map(|heard| heard.elapsed());
            (node, Follower { matched: matched.map_or(0, |log_id| log_id.index), heard })
        });
        Self {
            node: metrics.id,
            role: role_name(metrics.state),
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: metrics.local_committed.map_or(0, |log_id| log_id.index),
            applied: metrics.last_applied.map_or(0, |log_id| log_id.index),
            membership_index: metrics.membership_config.log_id().map(|log_id| log_id.index),
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
            majority_heard,
            followers: followers.collect(),
        }
    }
}

/// Index of the entry that made the membership; 0 before there is one.
pub(crate) fn membership_index(raft: &Raft) -> u64 {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.log_id().map_or(0, |log_id| log_id.index)
}

pub(crate) const fn role_name(state: openraft::ServerState) -> &'static str {
    match state {
        openraft::ServerState::Learner => "learner",
        openraft::ServerState::Follower => "follower",
        openraft::ServerState::Candidate => "candidate",
        openraft::ServerState::Leader => "leader",
        openraft::ServerState::Shutdown => "stopped",
    }
}
