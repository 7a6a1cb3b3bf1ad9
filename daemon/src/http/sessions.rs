//! The session routes: what a request asks for, how it is carried out, what is answered.

use std::time::Instant;

use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use synckairos_protocol::{
    command::Intent,
    error::Kind,
    event::Answer,
    ids::SessionId,
    reject::Reject,
    session::Session,
    wire::{
        create::{parse_create, parse_expected_version, parse_switch},
        problem::{FieldIssue, IssueCode},
        rest::{Envelope, SessionState, SwitchResult},
    },
};

use super::{
    AppState, Edge,
    error::ApiError,
    reply::Reply,
    route::{Command, Route},
    text::percent_decode,
};
use crate::{admission::Verdict, sessions::refusal::Refusal};

/// What a valid request to a session route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Read(SessionId),
    Propose(Intent),
}

/// What the request asks for: first the id in its path is checked, then its body.
///
/// # Errors
/// Everything that is wrong with the path, else with the body.
pub(super) fn action(route: Route<'_>, method: &Method, body: &Value) -> Result<Action, ApiError> {
    let propose = |intent| Ok(Action::Propose(intent));
    match route {
        Route::Sessions => {
            let new = parse_create(body).map_err(ApiError::validation)?;
            propose(Intent::Create(Box::new(new)))
        }
        Route::Session(id) => {
            let session = session_id(id)?;
            if method == Method::DELETE {
                propose(Intent::Delete { session })
            } else {
                Ok(Action::Read(session))
            }
        }
        Route::Command(id, command) => propose(command_intent(command, session_id(id)?, body)?),
        Route::Time
        | Route::Node
        | Route::ClusterStatus
        | Route::Health
        | Route::Ready
        | Route::Metrics
        | Route::OpenApi
        | Route::DocsRoot
        | Route::Docs(_)
        | Route::Unmatched => Err(ApiError::new(Kind::NotFound, "not a session route")),
    }
}

fn command_intent(command: Command, session: SessionId, body: &Value) -> Result<Intent, ApiError> {
    if command == Command::Switch {
        let body = parse_switch(body).map_err(ApiError::validation)?;
        let expected_version = body.expected_version;
        return Ok(Intent::Switch {
            session,
            expected_version,
            current: body.current,
            next: body.next,
        });
    }
    let expected_version = parse_expected_version(body).map_err(ApiError::validation)?;
    Ok(match command {
        Command::Start => Intent::Start { session, expected_version },
        Command::Pause => Intent::Pause { session, expected_version },
        Command::Resume => Intent::Resume { session, expected_version },
        Command::Complete => Intent::Complete { session, expected_version },
        Command::Switch => Intent::Switch { session, expected_version, current: None, next: None },
    })
}

fn session_id(raw: &str) -> Result<SessionId, ApiError> {
    let id = percent_decode(raw).ok_or_else(|| ApiError::unreadable("path", "broken escape"))?;
    id.parse().map_err(|_| {
        let message = "Session ID must be a valid UUID";
        ApiError::validation(vec![FieldIssue::new("id", IssueCode::InvalidFormat, message)])
    })
}

/// Counts a switch; `None` where the action is none, or its limiter is off.
///
/// # Errors
/// 429 where the session has seen as many as it may.
pub(super) fn admit_switch(edge: Edge<'_>, action: &Action) -> Result<Option<Verdict>, Verdict> {
    let Action::Propose(Intent::Switch { session, .. }) = action else { return Ok(None) };
    match edge.limits.switch(*session, edge.now) {
        Some(verdict) if !verdict.allowed => Err(verdict),
        verdict => Ok(verdict),
    }
}

/// Carries the action out and renders what came of it.
pub(super) async fn perform(state: &AppState, action: Action, request_id: &str) -> Reply {
    match action {
        Action::Read(id) => render_read(id, state.sessions.read(id).await.as_ref()),
        Action::Propose(intent) => {
            let created = matches!(intent, Intent::Create(_));
            let switched = matches!(intent, Intent::Switch { .. });
            let began = Instant::now();
            let answer = state.sessions.propose(intent, request_id).await;
            if switched {
                state.metrics.observe_switch(began.elapsed());
            }
            render_answer(created, answer)
        }
    }
}

fn render_read<S: AsRef<Session>>(id: SessionId, read: Result<&Option<S>, &Refusal>) -> Reply {
    match read {
        Ok(Some(session)) => state_reply(StatusCode::OK, session.as_ref()),
        Ok(None) => ApiError::from(Refusal::Rejected(Reject::SessionNotFound(id))).into(),
        Err(refusal) => ApiError::from(refusal.clone()).into(),
    }
}

fn render_answer(created: bool, answer: Result<Answer, Refusal>) -> Reply {
    match answer {
        Ok(Answer::Session(session)) => {
            state_reply(if created { StatusCode::CREATED } else { StatusCode::OK }, &session)
        }
        Ok(Answer::Switched { session, expired }) => {
            let data = SwitchResult::new(&session, expired);
            Reply::json(StatusCode::OK, &Envelope { data })
        }
        Ok(Answer::Deleted) => Reply::empty(StatusCode::NO_CONTENT),
        // No client command is answered so.
        Ok(Answer::Swept { .. } | Answer::Batch(_) | Answer::Done | Answer::Admitted { .. }) => {
            ApiError::new(Kind::Internal, "Internal server error").into()
        }
        Err(refusal) => ApiError::from(refusal).into(),
    }
}

fn state_reply(status: StatusCode, session: &Session) -> Reply {
    Reply::json(status, &Envelope { data: SessionState::from(session) })
}

/// The headers of draft 6 of the rate limit specification, as v2 sends them.
pub(super) fn rate_limit_headers(reply: &mut Reply, verdict: Verdict) {
    let policy = format!("{};w={}", verdict.limit, verdict.window.get() / 1_000);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        reply.headers.insert("ratelimit-policy", policy);
    }
    reply.headers.insert("ratelimit-limit", verdict.limit.into());
    reply.headers.insert("ratelimit-remaining", verdict.remaining.into());
    reply.headers.insert("ratelimit-reset", verdict.reset_seconds().into());
}
