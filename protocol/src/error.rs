//! What an error means to its caller: code, status, whether a retry helps, and whether the
//! request may have taken effect all the same. One row an error, in one table.

use serde::{Deserialize, Serialize};

use crate::reject::Reject;

/// What a request that failed may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It changed nothing and never will.
    None,
    /// It may have taken effect, or still will.
    Unknown,
}

/// What an error means. `code` is v2's word, [`Kind::as_str`] is v3's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    pub code: &'static str,
    pub status: u16,
    /// May the same request succeed if it is sent again?
    pub retryable: bool,
    pub effect: Effect,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $kind:literal $code:literal $status:literal $retry:ident $effect:ident;)*) => {
        /// Every error that a caller can see.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $kind,)*
                }
            }

            /// v2's code, HTTP status, retry and effect.
            pub const fn meaning(self) -> Meaning {
                match self {
                    $(Self::$name => Meaning {
                        code: $code,
                        status: $status,
                        retryable: kinds!(@retry $retry),
                        effect: Effect::$effect,
                    },)*
                }
            }
        }
    };
    (@retry Retry) => { true };
    (@retry Never) => { false };
}

kinds! {
    // kind                   v3's word                  v2's code                   status retry  effect
    /// The request does not have the form it must have.
    Validation                "VALIDATION_ERROR"         "VALIDATION_ERROR"          400 Never None;
    /// `next_participant_id` names nobody in the session.
    ParticipantNotFound       "PARTICIPANT_NOT_FOUND"    "VALIDATION_ERROR"          400 Never None;
    /// The session's status does not allow this.
    InvalidSessionState       "INVALID_SESSION_STATE"    "INVALID_STATE_TRANSITION"  400 Never None;
    /// The session ended because a clock ran out.
    ParticipantExpired        "PARTICIPANT_EXPIRED"      "INVALID_STATE_TRANSITION"  400 Never None;
    /// The caller did not prove who it is.
    Unauthenticated           "UNAUTHENTICATED"          "UNAUTHENTICATED"           401 Never None;
    /// The caller may not do this.
    PermissionDenied          "PERMISSION_DENIED"        "PERMISSION_DENIED"         403 Never None;
    SessionNotFound           "SESSION_NOT_FOUND"        "SESSION_NOT_FOUND"         404 Never None;
    /// No such route.
    NotFound                  "NOT_FOUND"                "NOT_FOUND"                 404 Never None;
    MethodNotAllowed          "METHOD_NOT_ALLOWED"       "METHOD_NOT_ALLOWED"        405 Never None;
    /// The session changed since the caller, or the request on its arrival, saw it.
    ConcurrentModification    "CONCURRENT_MODIFICATION"  "CONFLICT"                  409 Retry None;
    /// The id is taken by a session that is not an unstarted copy of this one.
    SessionExists             "SESSION_EXISTS"           "SESSION_EXISTS"            409 Never None;
    PayloadTooLarge           "PAYLOAD_TOO_LARGE"        "PAYLOAD_TOO_LARGE"         413 Never None;
    /// The idempotency key belongs to another request.
    KeyReused                 "IDEMPOTENCY_KEY_REUSED"   "IDEMPOTENCY_KEY_REUSED"    422 Never None;
    /// The cluster was not told yet that all its nodes are upgraded.
    FormatLevelTooLow         "FORMAT_LEVEL_TOO_LOW"     "FORMAT_LEVEL_TOO_LOW"      409 Never None;
    /// The join token is unknown, used or expired.
    TokenInvalid              "TOKEN_INVALID"            "TOKEN_INVALID"             403 Never None;
    /// No such node in the cluster.
    NodeNotFound              "NODE_NOT_FOUND"           "NODE_NOT_FOUND"            404 Never None;
    /// What would be left of the voters could not go on, or could spare nobody.
    TooFewVoters              "TOO_FEW_VOTERS"           "TOO_FEW_VOTERS"            409 Never None;
    /// Another change of members is not done yet.
    ChangeUnderWay            "CHANGE_UNDER_WAY"         "CHANGE_UNDER_WAY"          409 Retry None;
    /// Not every node said which format level it understands.
    NodesUnheard              "NODES_UNHEARD"            "NODES_UNHEARD"             409 Retry None;
    /// No other node leads than before.
    NotTransferred            "NOT_TRANSFERRED"          "NOT_TRANSFERRED"           503 Retry None;
    RateLimitExceeded         "RATE_LIMIT_EXCEEDED"      "RATE_LIMIT_EXCEEDED"       429 Retry None;
    /// A bug, or a state that nobody foresaw. The cause is in the node's log.
    Internal                  "INTERNAL_ERROR"           "INTERNAL_ERROR"            500 Retry Unknown;
    /// No leader is known, or it cannot be reached, and the request was not passed on.
    NoLeader                  "NO_LEADER"                "NO_LEADER"                 503 Retry None;
    /// More is waiting than the node will hold.
    Overloaded                "OVERLOADED"               "OVERLOADED"                503 Retry None;
    /// The node is stopping; another one answers.
    ShuttingDown              "SHUTTING_DOWN"            "SHUTTING_DOWN"             503 Retry None;
    /// The cluster holds as many sessions as it may.
    CapacityExceeded          "CAPACITY_EXCEEDED"        "CAPACITY_EXCEEDED"         503 Retry None;
    /// The disk has too little room left, and nothing was written.
    StorageUnavailable        "STORAGE_UNAVAILABLE"      "STORAGE_UNAVAILABLE"       503 Retry None;
    /// The leader changed while the request was under way.
    LeadershipLost            "LEADERSHIP_LOST"          "LEADERSHIP_LOST"           503 Retry Unknown;
    /// The node is no member of its cluster any more.
    NodeRemoved               "NODE_REMOVED"             "NODE_REMOVED"              503 Retry None;
    /// Updates cannot be pushed now.
    PushUnavailable           "PUSH_UNAVAILABLE"         "PUSH_UNAVAILABLE"          503 Retry None;
    /// No answer in time.
    NetworkTimeout            "NETWORK_TIMEOUT"          "NETWORK_TIMEOUT"           504 Retry Unknown;
}

impl From<&Reject> for Kind {
    fn from(reject: &Reject) -> Self {
        match reject {
            Reject::SessionNotFound(_) => Self::SessionNotFound,
            Reject::SessionExists(_) => Self::SessionExists,
            Reject::WrongStatus { .. } | Reject::NotRunning { .. } => Self::InvalidSessionState,
            Reject::Expired { .. } => Self::ParticipantExpired,
            Reject::VersionMoved { .. } | Reject::NotCurrent { .. } => Self::ConcurrentModification,
            Reject::ParticipantNotFound { .. } => Self::ParticipantNotFound,
            Reject::TooManySessions { .. } => Self::CapacityExceeded,
            Reject::BrokenRule { .. } | Reject::Malformed { .. } | Reject::AddressTaken { .. } => {
                Self::Validation
            }
            Reject::InBatch { reject, .. } => Self::from(&**reject),
            Reject::KeyReused { .. } => Self::KeyReused,
            Reject::LevelTooLow { .. } => Self::FormatLevelTooLow,
            Reject::TokenUnknown | Reject::TokenExpired | Reject::TokenUsed { .. } => {
                Self::TokenInvalid
            }
            Reject::TooManyTokens { .. } => Self::CapacityExceeded,
            Reject::NodeUnknown { .. } => Self::NodeNotFound,
            Reject::BeingReplaced { .. } => Self::ChangeUnderWay,
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let known = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// An error kind that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown error kind {0:?}")]
pub struct UnknownKind(pub String);
