//! The messages of the WebSocket, in both directions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rest::SessionState;
use crate::{
    event::{Cause, Event},
    ids::{ParticipantId, SessionId},
    time::{Millis, Stamp},
};

/// What a node sends. `timestamp` is cluster time as the sending node knows it, in milliseconds
/// since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// The subscription holds: every later change is sent. `session_id` is spelled as in the URL.
    Connected {
        session_id: String,
        timestamp: Stamp,
    },
    /// The session reached `version`.
    StateUpdate {
        session_id: SessionId,
        timestamp: Stamp,
        state: Box<SessionState>,
        version: u64,
        /// Position in the log of the entry that did it.
        revision: u64,
        cause: CauseForm,
        #[serde(rename = "server_time_ms")]
        server_time: Stamp,
    },
    /// The whole state, because the client asked or because updates were missed.
    StateSync {
        session_id: SessionId,
        timestamp: Stamp,
        state: Box<SessionState>,
        version: u64,
        #[serde(rename = "server_time_ms")]
        server_time: Stamp,
    },
    /// The session is gone; the node closes with 1000.
    SessionDeleted {
        session_id: SessionId,
        timestamp: Stamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<CauseForm>,
        #[serde(rename = "server_time_ms")]
        server_time: Stamp,
    },
    /// The running clock crossed one of `warnings_ms`.
    Warning {
        session_id: SessionId,
        timestamp: Stamp,
        version: u64,
        revision: u64,
        #[serde(rename = "participant_id")]
        participant: ParticipantId,
        #[serde(rename = "threshold_ms")]
        threshold: Millis,
        /// The exact instant of the crossing.
        #[serde(rename = "at_ms")]
        at: Stamp,
        #[serde(rename = "server_time_ms")]
        server_time: Stamp,
    },
    Pong {
        timestamp: Stamp,
    },
    Error {
        code: String,
        message: String,
    },
    /// A message of a later version.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Why a message is sent: what happened, and who or what made it happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseForm {
    #[serde(rename = "type")]
    pub what: Happening,
    pub reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<ParticipantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_participant_id: Option<ParticipantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_participant_id: Option<ParticipantId>,
    /// The exact instant at which the clock fell due, whenever that was noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<Stamp>,
    /// The word of `on_timeout.action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The span in which nobody could act, and how much of it the running clock was not charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credited_ms: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    Created,
    Started,
    Switched,
    Paused,
    Resumed,
    Completed,
    ParticipantExpired,
    CycleSkipped,
    SessionExpired,
    OutageCredited,
    Deleted,
    /// Something of a later version.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Command,
    Timeout,
    Auto,
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Command => Self::Command,
            Cause::Timeout => Self::Timeout,
            Cause::Auto => Self::Auto,
        }
    }
}

impl CauseForm {
    fn plain(what: Happening, reason: Reason) -> Self {
        Self {
            what,
            reason,
            participant_id: None,
            from_participant_id: None,
            to_participant_id: None,
            due_ms: None,
            action: None,
            from_ms: None,
            until_ms: None,
            credited_ms: None,
        }
    }

    pub fn deleted(cause: Cause) -> Self {
        Self::plain(Happening::Deleted, cause.into())
    }

    pub fn of(event: &Event, cause: Cause) -> Self {
        let plain = |what| Self::plain(what, cause.into());
        match event {
            Event::Created => plain(Happening::Created),
            Event::Started { participant } => {
                Self { participant_id: Some(*participant), ..plain(Happening::Started) }
            }
            Event::Switched { from, to } => Self {
                from_participant_id: Some(*from),
                to_participant_id: Some(*to),
                ..plain(Happening::Switched)
            },
            Event::Paused => plain(Happening::Paused),
            Event::Resumed => plain(Happening::Resumed),
            Event::Completed => plain(Happening::Completed),
            Event::ParticipantExpired { participant, due, action } => Self {
                participant_id: Some(*participant),
                due_ms: Some(*due),
                action: action.clone(),
                ..plain(Happening::ParticipantExpired)
            },
            Event::CycleSkipped { from, to, due, action } => Self {
                from_participant_id: Some(*from),
                to_participant_id: Some(*to),
                due_ms: Some(*due),
                action: action.clone(),
                ..plain(Happening::CycleSkipped)
            },
            Event::SessionExpired { participant, due } => Self {
                participant_id: Some(*participant),
                due_ms: Some(*due),
                ..plain(Happening::SessionExpired)
            },
            Event::OutageCredited { participant, from, until, credited } => Self {
                participant_id: Some(*participant),
                from_ms: Some(*from),
                until_ms: Some(*until),
                credited_ms: Some(*credited),
                ..plain(Happening::OutageCredited)
            },
        }
    }
}

/// What a client may say. Anything else is ignored, as v2 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientMessage {
    /// Asks for a `PONG`.
    Ping,
    /// Asks for a `STATE_SYNC`.
    Reconnect,
}

impl ClientMessage {
    /// `None` for everything that is no message of ours: bad JSON, no object, an unknown type.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let message: Value = serde_json::from_slice(bytes).ok()?;
        match message.as_object()?.get("type")?.as_str()? {
            "PING" => Some(Self::Ping),
            "RECONNECT" => Some(Self::Reconnect),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_messages_are_understood() {
        let table = [
            (r#"{"type":"PING"}"#, Some(ClientMessage::Ping)),
            (r#"{"type":"PING","extra":[1]}"#, Some(ClientMessage::Ping)),
            (r#"{"type":"RECONNECT"}"#, Some(ClientMessage::Reconnect)),
            (r#"{"type":"PING","type":"RECONNECT"}"#, Some(ClientMessage::Reconnect)),
            (r#"{"type":"ping"}"#, None),
            (r#"{"type":1}"#, None),
            (r#"{"type":"SUBSCRIBE"}"#, None),
            ("{}", None),
            ("null", None),
            ("[]", None),
            ("\"PING\"", None),
            ("PING", None),
            ("", None),
        ];
        for (text, message) in table {
            assert_eq!(ClientMessage::parse(text.as_bytes()), message, "{text}");
        }
        assert_eq!(serde_json::to_string(&ClientMessage::Ping).unwrap(), r#"{"type":"PING"}"#);
    }

    #[test]
    fn messages_of_a_later_version_are_read_as_unknown() {
        let message: ServerMessage =
            serde_json::from_str(r#"{"type":"STALE","since_ms":3}"#).unwrap();
        assert_eq!(message, ServerMessage::Unknown);
    }
}
