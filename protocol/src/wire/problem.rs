//! The body of every error answer: v2's keys, and what v3 adds so that a client knows whether to
//! retry and what may have happened.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::{Effect, Kind, UnknownKind},
    reject::Reject,
};

/// v2's message for every failed schema check.
pub const VALIDATION_FAILED: &str = "Request validation failed";

/// `{"error": {...}}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    pub error: ProblemBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// v2's code.
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// Whole seconds; on 429 only, where it is the limiter's window. The time that is really left
    /// is in the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// May the same request succeed if it is sent again?
    pub retryable: bool,
    /// v3's code.
    pub kind: String,
    /// The ids and numbers that the message speaks of.
    pub context: Map<String, Value>,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Details {
    Issues(Vec<FieldIssue>),
    Versions { expected_version: u64, actual_version: u64 },
}

/// One rule that a field of the request breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldIssue {
    /// Path with dots: `participants.0.total_time_ms`; `id` for the id in the URL, empty for the
    /// body as a whole.
    pub field: String,
    pub message: String,
    pub code: IssueCode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueCode {
    InvalidType,
    InvalidValue,
    InvalidFormat,
    TooSmall,
    TooBig,
}

impl Problem {
    /// An error with the meaning of `kind` and no context yet.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let meaning = kind.meaning();
        Self {
            error: ProblemBody {
                code: String::from(meaning.code),
                message: message.into(),
                details: None,
                retry_after_seconds: None,
                retryable: meaning.retryable,
                kind: String::from(kind.as_str()),
                context: Map::new(),
                effect: meaning.effect,
            },
        }
    }

    /// A failed schema check.
    pub fn validation(issues: Vec<FieldIssue>) -> Self {
        let mut problem = Self::new(Kind::Validation, VALIDATION_FAILED);
        problem.error.details = Some(Details::Issues(issues));
        problem
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.error.context.insert(String::from(key), value.into());
        self
    }

    /// What the machine refused.
    pub fn from_reject(reject: &Reject) -> Self {
        let problem = Self::new(Kind::from(reject), reject.to_string());
        match reject {
            Reject::SessionNotFound(session) | Reject::SessionExists(session) => {
                problem.with("session_id", session.to_string())
            }
            Reject::WrongStatus { session, status, .. }
            | Reject::NotRunning { session, status } => {
                problem.with("session_id", session.to_string()).with("status", status.as_str())
            }
            Reject::Expired { session, participant, at } => problem
                .with("session_id", session.to_string())
                .with("status", "expired")
                .with("participant_id", participant.to_string())
                .with("expired_at", at.to_iso())
                .with("expired_at_ms", at.unix_millis()),
            Reject::VersionMoved { session, expected, actual } => {
                let mut problem = problem
                    .with("session_id", session.to_string())
                    .with("expected_version", *expected)
                    .with("actual_version", *actual);
                problem.error.details = Some(Details::Versions {
                    expected_version: *expected,
                    actual_version: *actual,
                });
                problem
            }
            Reject::NotCurrent { session, expected, actual } => problem
                .with("session_id", session.to_string())
                .with("expected_participant_id", expected.to_string())
                .with("actual_participant_id", actual.to_string()),
            Reject::ParticipantNotFound { session, participant } => problem
                .with("session_id", session.to_string())
                .with("participant_id", participant.to_string()),
            Reject::TooManySessions { max } => problem.with("sessions_max", *max),
            Reject::BrokenRule { session, rule } => {
                problem.with("session_id", session.to_string()).with("rule", rule.as_str())
            }
            // What the refused command would have been told alone, and which one it was.
            Reject::InBatch { index, reject } => {
                let mut problem = Self::from_reject(reject).with("index", *index);
                problem.error.message = format!("commands.{index}: {}", problem.error.message);
                problem
            }
            Reject::KeyReused { key } => problem.with("idempotency_key", key.as_str()),
            Reject::LevelTooLow { needed, level } => {
                problem.with("needed_level", *needed).with("level", *level)
            }
            Reject::TokenUnknown | Reject::TokenExpired => problem,
            Reject::TooManyTokens { max } => problem.with("tokens_max", *max),
            Reject::NodeUnknown { node } | Reject::TokenUsed { node } => {
                problem.with("node", *node)
            }
            Reject::Malformed { rule } => problem.with("rule", rule.as_str()),
            Reject::BeingReplaced { node, by } => problem.with("node", *node).with("by", *by),
            Reject::AddressTaken { address, node } => {
                problem.with("address", address.as_str()).with("node", *node)
            }
        }
    }
}

impl ProblemBody {
    /// The error as one of those that this version knows.
    ///
    /// # Errors
    /// [`UnknownKind`] where a newer node says something that this version has no word for.
    pub fn known_kind(&self) -> Result<Kind, UnknownKind> {
        self.kind.parse()
    }
}

impl FieldIssue {
    pub fn new(field: impl Into<String>, code: IssueCode, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), code }
    }
}
