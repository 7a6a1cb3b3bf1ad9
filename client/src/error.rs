//! Why a request failed, and whether it may have taken effect all the same.

use std::{fmt, time::Duration};

use synckairos_protocol::{
    error::{Effect, Kind},
    wire::problem::ProblemBody,
};

/// A request that did not get the answer it was sent for.
#[derive(Debug)]
pub struct ClientError {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    failure: Failure,
    effect: Effect,
    node: String,
    attempts: u32,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The cluster said so.
    Service(Kind),
    /// The cluster said so, in a word of a later version.
    UnknownService,
    /// No connection to any node could be made.
    Unreachable,
    /// The request was sent, and the connection was lost or the time was up before the answer.
    Unanswered,
    /// The answer does not have the form it must have.
    Unreadable,
    /// The request cannot be written: metadata that is no JSON.
    InvalidRequest,
}

impl ErrorKind {
    /// The word of the protocol, or one in its manner: for logs and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service(kind) => kind.as_str(),
            Self::UnknownService => "UNKNOWN",
            Self::Unreachable => "UNREACHABLE",
            Self::Unanswered => "UNANSWERED",
            Self::Unreadable => "UNREADABLE",
            Self::InvalidRequest => "INVALID_REQUEST",
        }
    }
}

impl ClientError {
    pub(crate) fn new(failure: Failure, effect: Effect, node: &str, attempts: u32) -> Self {
        let node = node.to_owned();
        Self { inner: Box::new(Inner { failure, effect, node, attempts }) }
    }

    pub fn kind(&self) -> ErrorKind {
        self.inner.failure.kind()
    }

    /// What the request may have done, all attempts taken together. A read has no effect.
    pub fn effect(&self) -> Effect {
        self.inner.effect
    }

    /// May the same request succeed if it is sent again? After an unknown effect that can do it
    /// a second time: look first.
    pub fn is_retryable(&self) -> bool {
        match &self.inner.failure {
            Failure::Refused { problem, .. } => problem.retryable,
            Failure::Unreachable(_) | Failure::Unanswered(_) => true,
            Failure::Unreadable { .. } | Failure::Unwritable(_) => false,
        }
    }

    /// The HTTP status of the last attempt, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match &self.inner.failure {
            Failure::Refused { status, .. } | Failure::Unreadable { status, .. } => Some(*status),
            Failure::Unreachable(_) | Failure::Unanswered(_) | Failure::Unwritable(_) => None,
        }
    }

    /// What the cluster said: message, context, issues field by field.
    pub fn problem(&self) -> Option<&ProblemBody> {
        match &self.inner.failure {
            Failure::Refused { problem, .. } => Some(problem),
            Failure::Unreachable(_)
            | Failure::Unanswered(_)
            | Failure::Unreadable { .. }
            | Failure::Unwritable(_) => None,
        }
    }

    /// How long the cluster asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.failure.retry_after()
    }

    /// Base URL of the node that was asked last.
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// How often the request was sent, or tried to be.
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { failure, effect, node, attempts } = &*self.inner;
        write!(formatter, "{failure} ({node}, attempt {attempts}")?;
        match effect {
            Effect::None => formatter.write_str(")"),
            Effect::Unknown => formatter.write_str("; it may have taken effect)"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.failure.source()
    }
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}: {}", problem.kind, problem.message)]
    Refused { status: u16, problem: Box<ProblemBody>, retry_after: Option<Duration> },
    #[error("the node cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("{}", unanswered(.0))]
    Unanswered(#[source] reqwest::Error),
    #[error("the node answered {status} and {reason}")]
    Unreadable { status: u16, reason: String },
    #[error("the request cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
}

fn unanswered(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "the node did not answer in time"
    } else {
        "the connection was lost before the answer"
    }
}

impl Failure {
    /// What went wrong on the way. Only where no connection was made is it sure that nothing
    /// was sent.
    pub(crate) fn of_transport(error: reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            Self::Unreachable(error)
        } else {
            Self::Unanswered(error)
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { problem, .. } => {
                problem.known_kind().map_or(ErrorKind::UnknownService, ErrorKind::Service)
            }
            Self::Unreachable(_) => ErrorKind::Unreachable,
            Self::Unanswered(_) => ErrorKind::Unanswered,
            Self::Unreadable { .. } => ErrorKind::Unreadable,
            Self::Unwritable(_) => ErrorKind::InvalidRequest,
        }
    }

    /// What this attempt may have done, where the request is one that changes something.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::Refused { problem, .. } => problem.effect,
            Self::Unreachable(_) | Self::Unwritable(_) => Effect::None,
            Self::Unanswered(_) => Effect::Unknown,
            // Something on the way refused it, or it never came to a handler of ours.
            Self::Unreadable { status: 300..500, .. } => Effect::None,
            Self::Unreadable { .. } => Effect::Unknown,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable(_)
            | Self::Unanswered(_)
            | Self::Unreadable { .. }
            | Self::Unwritable(_) => None,
        }
    }

    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self)
    }
}
