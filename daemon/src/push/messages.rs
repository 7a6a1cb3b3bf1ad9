//! What is pushed, as the JSON text that goes into a frame or an event.

use axum::extract::ws::Utf8Bytes;
use synckairos_protocol::{
    event::{Cause, Change, Event},
    ids::SessionId,
    session::Session,
    time::Stamp,
    wire::{
        rest::SessionState,
        ws::{CauseForm, ServerMessage},
    },
};

use super::hub::Push;

/// A committed change, as everybody who watches its session is told it.
pub(super) fn push(revision: u64, change: &Change, now: Stamp) -> Push {
    match change {
        Change::Updated { session, event, cause } => Push::Update {
            version: session.version,
            revision,
            text: update(session, (event, *cause), revision, now),
        },
        Change::Warned { session, warning } => Push::Notice(text(&ServerMessage::Warning {
            session_id: session.id,
            timestamp: now,
            version: session.version,
            revision,
            participant: warning.participant,
            threshold: warning.threshold,
            at: warning.at,
            server_time: now,
        })),
        Change::Deleted { session, cause, .. } => Push::Deleted {
            revision,
            text: text(&ServerMessage::SessionDeleted {
                session_id: *session,
                timestamp: now,
                revision: Some(revision),
                cause: Some(CauseForm::deleted(*cause)),
                server_time: now,
            }),
        },
    }
}

/// The session reached its version: the same content whether it is told live or replayed.
pub(super) fn update(
    session: &Session,
    (event, cause): (&Event, Cause),
    revision: u64,
    now: Stamp,
) -> Utf8Bytes {
    text(&ServerMessage::StateUpdate {
        session_id: session.id,
        timestamp: now,
        state: Box::new(SessionState::from(session)),
        version: session.version,
        revision,
        cause: CauseForm::of(event, cause),
        server_time: now,
    })
}

/// The whole state; `resumed` is said in answer to a resume only.
pub(super) fn sync(
    session: &Session,
    revision: Option<u64>,
    resumed: Option<bool>,
    now: Stamp,
) -> Utf8Bytes {
    text(&ServerMessage::StateSync {
        session_id: session.id,
        timestamp: now,
        state: Box::new(SessionState::from(session)),
        version: session.version,
        revision,
        resumed,
        server_time: now,
    })
}

/// The session went while nobody watched: when and why is not known any more.
pub(super) fn gone(session: SessionId, now: Stamp) -> Utf8Bytes {
    text(&ServerMessage::SessionDeleted {
        session_id: session,
        timestamp: now,
        revision: None,
        cause: None,
        server_time: now,
    })
}

pub(super) fn text(message: &ServerMessage) -> Utf8Bytes {
    let json = serde_json::to_string(message).expect("forms have string keys and finite numbers");
    Utf8Bytes::from(json)
}
