//! Changes of members, one at a time, in the engine's words.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{
    ChangeMembers,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};
use synckairos_raft_store::raft_types::{PeerNode, TypeConfig};
use tokio::time::timeout;
use tracing::info;

use super::Raft;

/// A change is committed by then, or a majority is away.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Ends a change that an earlier leader began.
    Finish,
    /// The node gets the log from now on, and does not vote.
    AddLearner {
        node: u64,
        place: PeerNode,
    },
    /// The learner votes from now on; `instead_of` goes in the same step, whatever it was.
    Promote {
        node: u64,
        instead_of: Option<u64>,
    },
    Remove {
        node: u64,
    },
}

/// The members are as they were, unless it is said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotChanged {
    #[error("this node does not lead")]
    NotLeader,
    #[error("another change is under way")]
    UnderWay,
    #[error("node {0} is not known")]
    UnknownNode(u64),
    /// It may be done all the same.
    #[error("the leadership was lost meanwhile")]
    LeadershipLost,
    /// It may still be done.
    #[error("no majority confirmed it within {} s", CHANGE_WITHIN.as_secs())]
    TimedOut,
}

/// Commits a change, in both of its steps where it has two.
///
/// # Errors
/// [`NotChanged`].
pub(crate) async fn change(raft: &Raft, change: Change) -> Result<(), NotChanged> {
    let voters: BTreeSet<u64> = raft.voter_ids().collect();
    let remove = |node: u64| {
        let nodes = BTreeSet::from([node]);
        if voters.contains(&node) {
            ChangeMembers::RemoveVoters(nodes)
        } else {
            ChangeMembers::RemoveNodes(nodes)
        }
    };
    let promote = |node| ChangeMembers::AddVoterIds(BTreeSet::from([node]));
    let changes = match change {
        // Adds nobody, and so leads to where the change that was begun leads.
        Change::Finish => ChangeMembers::AddVoterIds(BTreeSet::new()),
        Change::AddLearner { node, place } => {
            ChangeMembers::AddNodes(BTreeMap::from([(node, place)]))
        }
        Change::Promote { node, instead_of: None } => promote(node),
        Change::Promote { node, instead_of: Some(old) } => {
            ChangeMembers::Batch(vec![promote(node), remove(old)])
        }
        Change::Remove { node } => remove(node),
    };
    match timeout(CHANGE_WITHIN, raft.change_membership(changes, false)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(reason_of(error)),
        Err(_) => Err(NotChanged::TimedOut),
    }
}

fn reason_of(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> NotChanged {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => NotChanged::NotLeader,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::LearnerNotFound(missing),
        )) => NotChanged::UnknownNode(missing.node_id),
        // All the others end by themselves: a change that is under way, or a term that began.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(other)) => {
            info!(reason = %other, "the members cannot be changed now");
            NotChanged::UnderWay
        }
        RaftError::APIError(
            ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_),
        )
        | RaftError::Fatal(_) => NotChanged::LeadershipLost,
    }
}
