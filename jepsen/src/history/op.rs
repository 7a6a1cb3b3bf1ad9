//! One line of a history: Jepsen's op map.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// Who did it: a client process, or the one that breaks things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    Client(u32),
    Nemesis,
}

/// How far an operation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It certainly took no effect.
    Fail,
    /// It may have taken effect, then or at any time later. The process is not used again.
    Info,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum F {
    Create,
    Start,
    Switch,
    Pause,
    Resume,
    Complete,
    Delete,
    /// A linearizable `GET` of one session.
    Read,
    /// The same with `consistency=stale`.
    StaleRead,
    /// One page of `GET /v1/sessions`.
    List,
    /// `POST /v1/batch`.
    Batch,
    /// `GET /v1/time`.
    Time,
}

impl F {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Switch => "switch",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Complete => "complete",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::StaleRead => "stale_read",
            Self::List => "list",
            Self::Batch => "batch",
            Self::Time => "time",
        }
    }

    /// May it change something?
    pub const fn writes(self) -> bool {
        match self {
            Self::Create
            | Self::Start
            | Self::Switch
            | Self::Pause
            | Self::Resume
            | Self::Complete
            | Self::Delete
            | Self::Batch => true,
            Self::Read | Self::StaleRead | Self::List | Self::Time => false,
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        serde_json::from_value(Value::from(word)).ok()
    }
}

/// One line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub index: u64,
    /// Nanoseconds since the test began, on the runner's monotonic clock.
    pub time: u64,
    pub process: Process,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// An [`F`]'s word, or the name of a fault where the process is the nemesis.
    pub f: String,
    /// The session, where the operation is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of an invocation the request's body (for a list its query), of an `ok` the answer: `data`
    /// of sessions, `data.results` of a batch, the whole body of lists, stale reads and the time.
    #[serde(default)]
    pub value: Value,
    /// The node that was asked: `n1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The idempotency key that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idem: Option<String>,
    /// HTTP status, where there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of `fail` and `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why there is no good answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The error's `kind` in the answer; without an answer `CONNECT`, `TIMEOUT`, `CUT` (the
    /// connection ended) or `GARBLED`.
    pub kind: String,
    /// As in the answer, `none` or `unknown`; without an answer, what the client can tell.
    pub effect: String,
    #[serde(default)]
    pub message: String,
    /// The answer's `context`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
    /// The answer's `details`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
    #[serde(default)]
    pub retryable: bool,
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Client(id) => serializer.serialize_u32(*id),
            Self::Nemesis => serializer.serialize_str("nemesis"),
        }
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (value.as_u64().and_then(|id| u32::try_from(id).ok()), value.as_str()) {
            (Some(id), _) => Ok(Self::Client(id)),
            (None, Some("nemesis")) => Ok(Self::Nemesis),
            (None, _) => Err(D::Error::custom("a process is a number or \"nemesis\"")),
        }
    }
}
