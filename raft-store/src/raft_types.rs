//! The types that openraft is told to use, and the names by which the rest of the code calls them.

use std::fmt;

use serde::{Deserialize, Serialize};
use synckairos_protocol::{command::CommandBatch, event::Answer, reject::Reject};

pub use crate::snapshot_file::SnapshotFile;

/// Where a node is reached. The default names no place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNode {
    /// Where peers reach it over QUIC: `host:port`.
    pub peer: String,
    /// Where clients reach it over HTTP: `host:port`.
    pub http: String,
}

impl fmt::Display for PeerNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "peer {}, http {}", self.peer, self.http)
    }
}

/// What one log entry answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// Index of the entry in the log.
    pub revision: u64,
    /// One for each command, in order. Empty for entries without commands.
    pub answers: Vec<Result<Answer, Reject>>,
}

openraft::declare_raft_types!(
    /// One leader a term, so the term alone is a fencing token.
    pub TypeConfig:
        D = CommandBatch,
        R = BatchAnswer,
        NodeId = u64,
        Node = PeerNode,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

pub type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
pub type CommittedLeaderId = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
pub type Payload = openraft::alias::PayloadOf<TypeConfig>;
pub type Membership = openraft::Membership<u64, PeerNode>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;
