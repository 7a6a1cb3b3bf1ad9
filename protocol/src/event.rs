//! What came of a command: answers to its caller, changes for everybody else.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ParticipantId, SessionId},
    reject::Reject,
    session::Session,
    time::{Millis, Stamp},
};

/// What one log entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One for each command of the batch, in order.
    pub answers: Vec<Result<Answer, Reject>>,
    /// In the order in which they took effect. A session's versions appear without a gap.
    pub changes: Vec<Change>,
}

/// What the caller of a command is told. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The session as the command left it.
    Session(Arc<Session>),
    Switched {
        session: Arc<Session>,
        /// The participant just switched away from, where out of time.
        expired: Option<ParticipantId>,
    },
    Deleted,
    /// How many sessions were settled or removed, and whether more are waiting.
    Swept {
        sessions: u32,
        more: bool,
    },
    /// One for each command of an atomic batch, in order.
    Batch(Vec<Self>),
    /// It took effect, and there is nothing to tell.
    Done,
    /// A node was let in under this id, in place of another where its token said so.
    Admitted {
        node: u64,
        replaces: Option<u64>,
    },
}

/// One observable change, in commit order. Subscribers, audit and metrics see these and nothing
/// else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session reached its next version.
    Updated {
        session: Arc<Session>,
        event: Event,
        cause: Cause,
    },
    /// The running clock crossed a threshold; the version stays.
    Warned {
        session: Arc<Session>,
        warning: Warning,
    },
    Deleted {
        session: SessionId,
        at: Stamp,
        cause: Cause,
    },
}

/// Why something happened. Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody asked for it.
    Command,
    /// A clock fell due.
    Timeout,
    /// The service did it by itself: `auto_advance`, retention.
    Auto,
}

/// What happened to a session. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Created,
    Started {
        participant: ParticipantId,
    },
    Switched {
        from: ParticipantId,
        to: ParticipantId,
    },
    Paused,
    Resumed,
    Completed,
    /// A clock fell due at `due` and the session runs on.
    ParticipantExpired {
        participant: ParticipantId,
        due: Stamp,
        action: Option<String>,
    },
    /// A clock fell due at `due` and the next participant became active.
    CycleSkipped {
        from: ParticipantId,
        to: ParticipantId,
        due: Stamp,
        action: Option<String>,
    },
    /// A clock fell due at `due` and the session ended.
    SessionExpired {
        participant: ParticipantId,
        due: Stamp,
    },
    /// From `from` to `until` nobody could act, and the running clock was not charged for it.
    OutageCredited {
        participant: ParticipantId,
        from: Stamp,
        until: Stamp,
        credited: Millis,
    },
}

/// The running clock had exactly `threshold` left at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub participant: ParticipantId,
    pub threshold: Millis,
    pub at: Stamp,
}
