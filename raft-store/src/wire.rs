//! Frozen forms of openraft's types, for disk and for peers.
//!
//! openraft's own structs change from release to release and are therefore never stored nor sent.
//! A change of any struct here is a new struct (`…V2`), a higher format number and a reader for
//! both; enum variants are appended only.

use std::{borrow::Cow, collections::BTreeSet};

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};
use synckairos_protocol::{codec, codec::Kind, command::CommandBatch};

use crate::raft_types::{
    CommittedLeaderId, Entry, LogId, Membership, PeerNode, SnapshotMeta, StoredMembership, Vote,
};

/// Format of [`VoteV1`] in an envelope of its own.
pub const VOTE_FORMAT: u16 = 1;
/// Format of [`LogIdV1`] in an envelope of its own.
pub const LOG_ID_FORMAT: u16 = 1;
/// Format of [`MembershipV1`] and [`StoredMembershipV1`] in an envelope of their own.
pub const MEMBERSHIP_FORMAT: u16 = 1;
/// The newest format of [`EntryV1`] in an envelope of its own: the format level that the entry's
/// commands need. The form is the same, but an older version knows at once that it is not for it.
pub const ENTRY_FORMAT: u16 = 2;
/// Format of [`SnapshotMetaV1`] in an envelope of its own.
pub const SNAPSHOT_META_FORMAT: u16 = 1;

/// A node's vote: its current term, whom it supports, and whether a quorum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteV1 {
    pub term: u64,
    pub voted_for: u64,
    pub committed: bool,
}

/// A position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdV1 {
    pub term: u64,
    pub index: u64,
}

/// Voters, one set or two while a change is under way, and where all nodes are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipV1 {
    pub configs: Vec<BTreeSet<u64>>,
    pub nodes: Vec<NodeV1>,
}

/// A voter or a learner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeV1 {
    pub id: u64,
    pub peer: String,
    pub http: String,
}

/// A membership and the entry that set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMembershipV1 {
    pub log_id: Option<LogIdV1>,
    pub membership: MembershipV1,
}

/// What a log entry carries. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadV1<'a> {
    Blank,
    Commands(Cow<'a, CommandBatch>),
    Membership(MembershipV1),
}

/// A log entry; borrows its commands when it is written and owns them when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryV1<'a> {
    pub log_id: LogIdV1,
    pub payload: PayloadV1<'a>,
}

/// What a snapshot covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMetaV1 {
    pub last_log_id: Option<LogIdV1>,
    pub membership: StoredMembershipV1,
}

/// A membership that no cluster can have: an empty set of voters, or a voter without a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a membership: {0}")]
pub struct InvalidMembership(String);

impl EntryV1<'_> {
    /// The entry in an envelope of its own.
    ///
    /// # Errors
    /// [`codec::EncodeError`] where it is too large.
    pub fn encode(entry: &Entry) -> Result<Vec<u8>, codec::EncodeError> {
        let form = EntryV1::from(entry);
        codec::encode(Kind::LogEntry, form.format(), &form)
    }

    fn format(&self) -> u16 {
        match &self.payload {
            PayloadV1::Commands(batch) => batch.level(),
            PayloadV1::Blank | PayloadV1::Membership(_) => 1,
        }
    }

    /// The entry of openraft.
    ///
    /// # Errors
    /// [`InvalidMembership`] where it carries one.
    pub fn into_entry(self) -> Result<Entry, InvalidMembership> {
        let payload = match self.payload {
            PayloadV1::Blank => EntryPayload::Blank,
            PayloadV1::Commands(batch) => EntryPayload::Normal(batch.into_owned()),
            PayloadV1::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Entry { log_id: self.log_id.into(), payload })
    }
}

impl From<&Vote> for VoteV1 {
    fn from(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            voted_for: vote.leader_id.voted_for,
            committed: vote.committed,
        }
    }
}

impl From<VoteV1> for Vote {
    fn from(vote: VoteV1) -> Self {
        if vote.committed {
            Self::new_committed(vote.term, vote.voted_for)
        } else {
            Self::new(vote.term, vote.voted_for)
        }
    }
}

impl From<&LogId> for LogIdV1 {
    fn from(log_id: &LogId) -> Self {
        Self { term: log_id.leader_id.term, index: log_id.index }
    }
}

impl From<LogIdV1> for LogId {
    fn from(log_id: LogIdV1) -> Self {
        Self::new(CommittedLeaderId::new(log_id.term), log_id.index)
    }
}

impl From<&Membership> for MembershipV1 {
    fn from(membership: &Membership) -> Self {
        let nodes = membership.nodes().map(|(id, node)| NodeV1 {
            id: *id,
            peer: node.peer.clone(),
            http: node.http.clone(),
        });
        Self { configs: membership.get_joint_config().clone(), nodes: nodes.collect() }
    }
}

impl TryFrom<MembershipV1> for Membership {
    type Error = InvalidMembership;

    fn try_from(membership: MembershipV1) -> Result<Self, InvalidMembership> {
        let nodes = membership.nodes.into_iter();
        let nodes: std::collections::BTreeMap<u64, PeerNode> =
            nodes.map(|node| (node.id, PeerNode { peer: node.peer, http: node.http })).collect();
        Self::new(membership.configs, nodes).map_err(|error| InvalidMembership(error.to_string()))
    }
}

impl From<&StoredMembership> for StoredMembershipV1 {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            log_id: stored.log_id().as_ref().map(LogIdV1::from),
            membership: stored.membership().into(),
        }
    }
}

impl TryFrom<StoredMembershipV1> for StoredMembership {
    type Error = InvalidMembership;

    fn try_from(stored: StoredMembershipV1) -> Result<Self, InvalidMembership> {
        Ok(Self::new(stored.log_id.map(LogId::from), stored.membership.try_into()?))
    }
}

impl<'a> From<&'a Entry> for EntryV1<'a> {
    fn from(entry: &'a Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => PayloadV1::Blank,
            EntryPayload::Normal(batch) => PayloadV1::Commands(Cow::Borrowed(batch)),
            EntryPayload::Membership(membership) => PayloadV1::Membership(membership.into()),
        };
        Self { log_id: (&entry.log_id).into(), payload }
    }
}

impl From<&SnapshotMeta> for SnapshotMetaV1 {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last_log_id: meta.last_log_id.as_ref().map(LogIdV1::from),
            membership: (&meta.last_membership).into(),
        }
    }
}

impl TryFrom<SnapshotMetaV1> for SnapshotMeta {
    type Error = InvalidMembership;

    fn try_from(meta: SnapshotMetaV1) -> Result<Self, InvalidMembership> {
        Ok(Self {
            last_log_id: meta.last_log_id.map(LogId::from),
            last_membership: meta.membership.try_into()?,
        })
    }
}
