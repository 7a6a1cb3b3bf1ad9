//! Errors on their way to a client: status, headers and the body that `protocol` defines.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use synckairos_protocol::{
    error::{Effect, Kind},
    wire::problem::{FieldIssue, Problem},
};

use super::reply::Reply;
use crate::{admission::Verdict, sessions::refusal::Refusal};

/// How long a client does well to wait for a leader or for room, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    /// Boxed, since most requests have none.
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl ApiError {
    /// An error with the meaning of `kind`.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::of(kind, Problem::new(kind, message))
    }

    pub(super) fn validation(issues: Vec<FieldIssue>) -> Self {
        Self::of(Kind::Validation, Problem::validation(issues))
    }

    /// A request that v2 fails on with 500, although only its sender can mend it.
    pub(super) fn unreadable(key: &str, value: &str) -> Self {
        let mut problem = Problem::new(Kind::Internal, "Internal server error").with(key, value);
        problem.error.retryable = false;
        problem.error.effect = Effect::None;
        Self::of(Kind::Internal, problem)
    }

    pub(super) fn not_found(method: &Method, path: &str) -> Self {
        let shown: String = path.chars().take(PATH_SHOWN_MAX).collect();
        let error = Self::new(Kind::NotFound, format!("Cannot {method} {shown}"));
        error.with("method", method.as_str()).with("path", shown)
    }

    pub(super) fn method_not_allowed(method: &Method, allowed: &[Method]) -> Self {
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let allow = names.join(", ");
        let message = format!("{method} is not allowed here; allowed: {allow}");
        let error = Self::new(Kind::MethodNotAllowed, message);
        let mut error = error.with("method", method.as_str()).with("allowed", names);
        // Method names are tokens, so this holds for any of them.
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            error.headers.insert(header::ALLOW, allow);
        }
        error
    }

    /// A limiter's refusal. The body tells the window, the header what is left of it, as in v2.
    pub(super) fn rate_limited(message: &str, verdict: Verdict) -> Self {
        let mut error = Self::new(Kind::RateLimitExceeded, message);
        let window_seconds = verdict.window.get() / 1_000;
        error.problem.error.retry_after_seconds = Some(window_seconds);
        let mut error = error.with("limit", verdict.limit).with("window_seconds", window_seconds);
        error.headers.insert(header::RETRY_AFTER, verdict.reset_seconds().into());
        error
    }

    /// Adds something that the message speaks of.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        *self.problem = self.problem.with(key, value);
        self
    }

    fn of(kind: Kind, problem: Problem) -> Self {
        let status = StatusCode::from_u16(kind.meaning().status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        Self { status, problem: Box::new(problem), headers }
    }
}

/// Characters of a path that an error repeats.
const PATH_SHOWN_MAX: usize = 256;

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let kind = refusal.kind();
        match &refusal {
            Refusal::Rejected(reject) => Self::of(kind, Problem::from_reject(reject)),
            Refusal::NoLeader
            | Refusal::Overloaded
            | Refusal::ShuttingDown
            | Refusal::LeadershipLost
            | Refusal::TimedOut
            | Refusal::Storage
            | Refusal::NodeRemoved => Self::new(kind, refusal.to_string()),
        }
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let mut reply = Self::json(error.status, &*error.problem);
        reply.headers.extend(error.headers);
        reply
    }
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::{ids::SessionId, reject::Reject};

    use super::*;

    #[test]
    fn refusals_tell_status_retry_and_effect() {
        let gone = Refusal::Rejected(Reject::SessionNotFound(SessionId::from_bits(0)));
        let table = [
            (gone, 404, "SESSION_NOT_FOUND", false, Effect::None, None),
            (Refusal::NoLeader, 503, "NO_LEADER", true, Effect::None, Some("1")),
            (Refusal::Overloaded, 503, "OVERLOADED", true, Effect::None, Some("1")),
            (Refusal::NodeRemoved, 503, "NODE_REMOVED", true, Effect::None, Some("1")),
            (Refusal::TimedOut, 504, "NETWORK_TIMEOUT", true, Effect::Unknown, None),
            (Refusal::LeadershipLost, 503, "LEADERSHIP_LOST", true, Effect::Unknown, Some("1")),
        ];
        for (refusal, status, code, retryable, effect, retry_after) in table {
            let error = ApiError::from(refusal);
            let body = &error.problem.error;
            assert_eq!(error.status.as_u16(), status, "{code}");
            assert_eq!(
                (body.code.as_str(), body.retryable, body.effect),
                (code, retryable, effect)
            );
            let header =
                error.headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{code}");
        }
    }

    #[test]
    fn wrong_methods_are_told_the_right_ones() {
        let error = ApiError::method_not_allowed(&Method::PUT, &[Method::GET, Method::HEAD]);
        assert_eq!(error.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(error.headers[header::ALLOW], "GET, HEAD");
    }
}
