//! Why a command changed nothing: the machine's answer, the same on every replica.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ParticipantId, SessionId},
    session::Status,
    time::Stamp,
};

/// Part of the replicated result. Numbers are frozen: append only.
///
/// The messages are v2's, word for word where v2 has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Reject {
    #[error("Session {0} not found")]
    SessionNotFound(SessionId),
    #[error("Session {0} already exists")]
    SessionExists(SessionId),
    #[error("Session {session} cannot be {verb} (current status: {})", status.as_str())]
    WrongStatus { session: SessionId, verb: Verb, status: Status },
    #[error("Session {session} not running (current status: {})", status.as_str())]
    NotRunning { session: SessionId, status: Status },
    #[error("Session {session} not running (current status: expired)")]
    Expired { session: SessionId, participant: ParticipantId, at: Stamp },
    #[error("Concurrent modification detected, please retry")]
    VersionMoved { session: SessionId, expected: u64, actual: u64 },
    #[error("Participant {expected} is not active in session {session}")]
    NotCurrent { session: SessionId, expected: ParticipantId, actual: ParticipantId },
    #[error("Participant {participant} not found in session")]
    ParticipantNotFound { session: SessionId, participant: ParticipantId },
    #[error("the cluster holds {max} sessions, which is its limit; delete some or wait")]
    TooManySessions { max: u64 },
    /// The edge lets no such command pass: another version of a node, or a bug, sent it.
    #[error("Session {session} cannot be created: it must hold that {rule}")]
    BrokenRule { session: SessionId, rule: String },
    /// Nothing of the batch took effect.
    #[error("command {index} of the batch was refused: {reject}")]
    InBatch { index: u32, reject: Box<Self> },
    #[error("idempotency key {key:?} was used for another request; use a new key for each request")]
    KeyReused { key: String },
    #[error(
        "this needs format level {needed} and the cluster is at {level}; when all nodes run the new \
         version, `synckairos cluster upgrade finalize` raises it"
    )]
    LevelTooLow { needed: u16, level: u16 },
    #[error(
        "the join token is not known: it was used or expired long ago, or is of another cluster; \
         make a new one with `synckairos cluster token create`"
    )]
    TokenUnknown,
    #[error("the join token expired; make a new one with `synckairos cluster token create`")]
    TokenExpired,
    #[error(
        "there are {max} join tokens that have not expired, which is the limit; wait or use one"
    )]
    TooManyTokens { max: u64 },
    #[error("node {node} is no member of the cluster")]
    NodeUnknown { node: u64 },
    /// The edge lets no such command pass: another version of a node, or a bug, sent it.
    #[error("a command must hold that {rule}")]
    Malformed { rule: String },
    #[error(
        "the join token was used by node {node}; make a new one with `synckairos cluster token \
         create`"
    )]
    TokenUsed { node: u64 },
    #[error(
        "node {node} has the address {address} already; give this node another one, or take that \
         one out of the cluster first with `synckairos cluster remove {node}`"
    )]
    AddressTaken { address: String, node: u64 },
    #[error(
        "node {by} was let in to take the place of node {node} already; if it does not come, \
         `synckairos cluster remove {by}`"
    )]
    BeingReplaced { node: u64, by: u64 },
}

/// What was asked of a session whose status does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    Started,
    Paused,
    Resumed,
}

impl std::fmt::Display for Verb {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Started => "started",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
        })
    }
}
