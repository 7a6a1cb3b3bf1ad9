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
        /// What was missed since the version in the URL follows. Said only where one was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resuming: Option<bool>,
    },
    /// The socket watches this session too. `session_id` is spelled as in the request.
    Subscribed {
        session_id: String,
        timestamp: Stamp,
    },
    /// The socket does not watch this session any more.
    Unsubscribed {
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
        /// Position in the log of the entry that made this version, where the node still knows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        /// Does this state follow, without a gap, from what the client said that it has? Said only
        /// in answer to a resume.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed: Option<bool>,
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
    /// This node has lost touch with the leader: it knows of nothing after `since`. It closes with
    /// 4013, and another node goes on where it ended.
    Stale {
        #[serde(rename = "since_ms")]
        since: Stamp,
    },
    Error {
        code: String,
        message: String,
        /// Said where one of several sessions is spoken of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_id: Option<String>,
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
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum ClientMessage {
    /// Asks for a `PONG`.
    Ping,
    /// Asks for a `STATE_SYNC`.
    Reconnect,
    /// Asks for every update after `version`, then for live ones.
    Resume {
        session_id: SessionId,
        version: u64,
        /// Of that version, which tells this session from another one of the same id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
    /// Adds a session to the socket: with `since` as `Resume` does it, else live updates only.
    Subscribe {
        session_id: SessionId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        /// Asks for a `STATE_SYNC` at once.
        snapshot: bool,
    },
    /// Takes a session off the socket.
    Unsubscribe { session_id: SessionId },
}

/// Why a message is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    /// v2 says nothing to it, and so do we.
    #[error("no message that is known here")]
    Unknown,
    /// A message of v3 that misses something, in words for its sender.
    #[error("{0}")]
    Faulty(&'static str),
}

const SESSION_FAULT: &str = "sessionId must be the id of a session, a UUID";
const VERSION_FAULT: &str = "version must be a whole number from 0: the last version that was seen";
const REVISION_FAULT: &str = "revision must be the whole number that came with that version";
const SNAPSHOT_FAULT: &str = "snapshot must be true or false";

impl ClientMessage {
    /// # Errors
    /// [`NotAMessage`] for bad JSON, no object, an unknown type, or a field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAMessage> {
        let message: Value = serde_json::from_slice(bytes).map_err(|_| NotAMessage::Unknown)?;
        let word = message.get("type").and_then(Value::as_str).ok_or(NotAMessage::Unknown)?;
        match word {
            "PING" => Ok(Self::Ping),
            "RECONNECT" => Ok(Self::Reconnect),
            "RESUME" => Ok(Self::Resume {
                session_id: session_of(&message)?,
                version: whole(&message, "version", VERSION_FAULT)?
                    .ok_or(NotAMessage::Faulty(VERSION_FAULT))?,
                revision: whole(&message, "revision", REVISION_FAULT)?,
            }),
            "SUBSCRIBE" => {
                let since = whole(&message, "since", VERSION_FAULT)?;
                let version = whole(&message, "version", VERSION_FAULT)?;
                let snapshot = match message.get("snapshot") {
                    None | Some(Value::Null) => false,
                    Some(value) => value.as_bool().ok_or(NotAMessage::Faulty(SNAPSHOT_FAULT))?,
                };
                Ok(Self::Subscribe {
                    session_id: session_of(&message)?,
                    since: since.or(version),
                    revision: whole(&message, "revision", REVISION_FAULT)?,
                    snapshot,
                })
            }
            "UNSUBSCRIBE" => Ok(Self::Unsubscribe { session_id: session_of(&message)? }),
            _ => Err(NotAMessage::Unknown),
        }
    }
}

fn session_of(message: &Value) -> Result<SessionId, NotAMessage> {
    let spelled = message.get("sessionId").and_then(Value::as_str);
    let parsed = spelled.and_then(|spelled| SessionId::parse_loose(spelled).ok());
    parsed.ok_or(NotAMessage::Faulty(SESSION_FAULT))
}

/// The field's number; absent and null are one.
fn whole(message: &Value, field: &str, fault: &'static str) -> Result<Option<u64>, NotAMessage> {
    match message.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(NotAMessage::Faulty(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_v2_are_understood_and_nonsense_is_nothing() {
        let table = [
            (r#"{"type":"PING"}"#, Ok(ClientMessage::Ping)),
            (r#"{"type":"PING","extra":[1]}"#, Ok(ClientMessage::Ping)),
            (r#"{"type":"RECONNECT"}"#, Ok(ClientMessage::Reconnect)),
            (r#"{"type":"PING","type":"RECONNECT"}"#, Ok(ClientMessage::Reconnect)),
            (r#"{"type":"ping"}"#, Err(NotAMessage::Unknown)),
            (r#"{"type":1}"#, Err(NotAMessage::Unknown)),
            ("{}", Err(NotAMessage::Unknown)),
            ("null", Err(NotAMessage::Unknown)),
            ("[]", Err(NotAMessage::Unknown)),
            ("\"PING\"", Err(NotAMessage::Unknown)),
            ("PING", Err(NotAMessage::Unknown)),
            ("", Err(NotAMessage::Unknown)),
        ];
        for (text, message) in table {
            assert_eq!(ClientMessage::parse(text.as_bytes()), message, "{text}");
        }
        assert_eq!(serde_json::to_string(&ClientMessage::Ping).unwrap(), r#"{"type":"PING"}"#);
    }

    #[test]
    fn messages_of_v3_are_understood_or_their_fault_is_named() {
        let session_id = SessionId::from_bits(7);
        let subscribe = |since, revision, snapshot| {
            Ok(ClientMessage::Subscribe { session_id, since, revision, snapshot })
        };
        let resume =
            |version, revision| Ok(ClientMessage::Resume { session_id, version, revision });
        let faulty = |fault| Err(NotAMessage::Faulty(fault));
        let table = [
            ("RESUME", r#","version":3"#, resume(3, None)),
            ("RESUME", r#","version":0,"revision":9"#, resume(0, Some(9))),
            ("RESUME", "", faulty(VERSION_FAULT)),
            ("RESUME", r#","version":-1"#, faulty(VERSION_FAULT)),
            ("RESUME", r#","version":3,"revision":"9""#, faulty(REVISION_FAULT)),
            ("SUBSCRIBE", "", subscribe(None, None, false)),
            ("SUBSCRIBE", r#","since":4,"revision":8"#, subscribe(Some(4), Some(8), false)),
            ("SUBSCRIBE", r#","version":4,"since":null"#, subscribe(Some(4), None, false)),
            ("SUBSCRIBE", r#","snapshot":true"#, subscribe(None, None, true)),
            ("SUBSCRIBE", r#","snapshot":1"#, faulty(SNAPSHOT_FAULT)),
            ("UNSUBSCRIBE", "", Ok(ClientMessage::Unsubscribe { session_id })),
        ];
        for (word, fields, message) in table {
            let text = format!(r#"{{"type":"{word}","sessionId":"{session_id}"{fields}}}"#);
            assert_eq!(ClientMessage::parse(text.as_bytes()), message, "{text}");
            if let Ok(message) = message {
                let text = serde_json::to_string(&message).unwrap();
                assert_eq!(ClientMessage::parse(text.as_bytes()), Ok(message), "{text}");
            }
            let nobody = format!(r#"{{"type":"{word}","version":1,"sessionId":"nobody"}}"#);
            assert_eq!(ClientMessage::parse(nobody.as_bytes()), faulty(SESSION_FAULT), "{nobody}");
        }
    }

    #[test]
    fn messages_of_a_later_version_are_read_as_unknown() {
        let message: ServerMessage =
            serde_json::from_str(r#"{"type":"TOMORROW","since_ms":3}"#).unwrap();
        assert_eq!(message, ServerMessage::Unknown);
    }
}
