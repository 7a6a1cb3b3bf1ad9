//! Why a request has no result: the one error type between the edge, the leader and its peers.

use serde::{Deserialize, Serialize};
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use synckairos_protocol::{error::Kind, reject::Reject, time::Stamp};

/// Travels between nodes. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    /// The machine's own answer: committed, and nothing changed.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// The request was not passed on to anybody.
    #[error("no leader is known to this node; retry, or ask another node")]
    NoLeader,
    #[error("too many requests are waiting for the leader; retry after a moment")]
    Overloaded,
    #[error("this node is stopping; ask another node")]
    ShuttingDown,
    /// It may still take effect.
    #[error("the leader changed while the request was under way; read the session before retrying")]
    LeadershipLost,
    /// It may still take effect.
    #[error("no answer from a majority in time; read the session before retrying")]
    TimedOut,
    /// The request was not passed on to anybody.
    #[error("the node's disk has too little room left to go on; retry, or ask another node")]
    Storage,
    /// The request was not passed on to anybody.
    #[error("this node was removed from the cluster; ask another node")]
    NodeRemoved,
}

impl Refusal {
    pub(crate) fn kind(&self) -> Kind {
        #[cfg(feature = "planted-bugs")]
        if Plant::EffectNoneLie.is_on() && matches!(self, Self::LeadershipLost | Self::TimedOut) {
            return Kind::NoLeader;
        }
        match self {
            Self::Rejected(reject) => reject.into(),
            Self::NoLeader => Kind::NoLeader,
            Self::Overloaded => Kind::Overloaded,
            Self::ShuttingDown => Kind::ShuttingDown,
            Self::LeadershipLost => Kind::LeadershipLost,
            Self::TimedOut => Kind::NetworkTimeout,
            Self::Storage => Kind::StorageUnavailable,
            Self::NodeRemoved => Kind::NodeRemoved,
        }
    }
}

/// Up to where a node must have applied the log to answer a linearizable read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadIndex {
    pub(crate) index: u64,
    /// Cluster time at the leader when it answered.
    pub(crate) now: Stamp,
}
