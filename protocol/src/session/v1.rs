//! A session as format level 1 stored and sent it: without `on_outage`. Frozen.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Group, OnOutage, OnTimeout, Participant, Phase, Seat, Session, SyncMode};
use crate::{
    event::Answer,
    ids::{ParticipantId, SessionId},
    time::{Millis, Stamp},
};

/// See [`Session`] for what the fields mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionV1 {
    pub id: SessionId,
    pub mode: SyncMode,
    pub version: u64,
    pub commanded_version: u64,
    pub participants: Vec<Participant>,
    pub groups: Vec<Group>,
    pub phase: Phase,
    pub first: Seat,
    pub total_time: Millis,
    pub time_per_cycle: Option<Millis>,
    pub increment: Millis,
    pub max_time: Option<Millis>,
    pub on_timeout: Option<OnTimeout>,
    pub auto_advance: Option<bool>,
    pub warnings: Vec<Millis>,
    pub warned: Option<Millis>,
    pub elapsed: Millis,
    pub cycle_elapsed: Millis,
    pub expired_at: Option<Stamp>,
    pub metadata: Option<String>,
    pub created_at: Stamp,
    pub updated_at: Stamp,
    pub started_at: Option<Stamp>,
    pub completed_at: Option<Stamp>,
}

/// What a caller is told, at format level 1. Frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerV1 {
    Session(SessionV1),
    Switched { session: SessionV1, expired: Option<ParticipantId> },
    Deleted,
    Swept { sessions: u32, more: bool },
}

impl From<SessionV1> for Session {
    fn from(old: SessionV1) -> Self {
        Self {
            id: old.id,
            mode: old.mode,
            version: old.version,
            commanded_version: old.commanded_version,
            participants: old.participants,
            groups: old.groups,
            phase: old.phase,
            first: old.first,
            total_time: old.total_time,
            time_per_cycle: old.time_per_cycle,
            increment: old.increment,
            max_time: old.max_time,
            on_timeout: old.on_timeout,
            auto_advance: old.auto_advance,
            warnings: old.warnings,
            warned: old.warned,
            elapsed: old.elapsed,
            cycle_elapsed: old.cycle_elapsed,
            expired_at: old.expired_at,
            metadata: old.metadata,
            created_at: old.created_at,
            updated_at: old.updated_at,
            started_at: old.started_at,
            completed_at: old.completed_at,
            on_outage: OnOutage::Charge,
        }
    }
}

impl From<&Session> for SessionV1 {
    /// At format level 1 no session has what this form lacks.
    fn from(session: &Session) -> Self {
        let session = session.clone();
        Self {
            id: session.id,
            mode: session.mode,
            version: session.version,
            commanded_version: session.commanded_version,
            participants: session.participants,
            groups: session.groups,
            phase: session.phase,
            first: session.first,
            total_time: session.total_time,
            time_per_cycle: session.time_per_cycle,
            increment: session.increment,
            max_time: session.max_time,
            on_timeout: session.on_timeout,
            auto_advance: session.auto_advance,
            warnings: session.warnings,
            warned: session.warned,
            elapsed: session.elapsed,
            cycle_elapsed: session.cycle_elapsed,
            expired_at: session.expired_at,
            metadata: session.metadata,
            created_at: session.created_at,
            updated_at: session.updated_at,
            started_at: session.started_at,
            completed_at: session.completed_at,
        }
    }
}

impl From<AnswerV1> for Answer {
    fn from(old: AnswerV1) -> Self {
        match old {
            AnswerV1::Session(session) => Self::Session(Arc::new(session.into())),
            AnswerV1::Switched { session, expired } => {
                Self::Switched { session: Arc::new(session.into()), expired }
            }
            AnswerV1::Deleted => Self::Deleted,
            AnswerV1::Swept { sessions, more } => Self::Swept { sessions, more },
        }
    }
}

impl AnswerV1 {
    /// The old form; `None` for an answer that level 1 does not know.
    pub fn of(answer: &Answer) -> Option<Self> {
        Some(match answer {
            Answer::Session(session) => Self::Session((&**session).into()),
            Answer::Switched { session, expired } => {
                Self::Switched { session: (&**session).into(), expired: *expired }
            }
            Answer::Deleted => Self::Deleted,
            Answer::Swept { sessions, more } => Self::Swept { sessions: *sessions, more: *more },
            Answer::Batch(_) | Answer::Done | Answer::Admitted { .. } => return None,
        })
    }
}
