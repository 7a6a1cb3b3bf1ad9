//! The session routes: what a request asks for, how it is carried out, what is answered.

use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, request};
use serde_json::Value;
use synckairos_protocol::{
    codec,
    command::{Intent, RequestKey},
    error::Kind,
    event::Answer,
    ids::SessionId,
    reject::Reject,
    session::Session,
    wire::{
        batch::{BatchResult, BatchResults, parse_batch},
        create::{parse_create, parse_expected_version, parse_switch},
        listing::{Consistency, ListAnswer, ListQuery, StaleAnswer, parse_consistency, parse_list},
        problem::{FieldIssue, IssueCode},
        rest::{Envelope, SessionState, SwitchResult},
    },
};

use super::{
    AppState, Edge,
    error::ApiError,
    idempotency,
    reply::Reply,
    route::{Command, Route},
    text::{percent_decode, query_value},
};
use crate::{
    admission::Verdict,
    sessions::{listing::Page, refusal::Refusal},
};

/// What a valid request to a session route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Read(SessionId, Consistency),
    List(ListQuery),
    Propose(Intent),
}

/// What the request asks for: first the id in its path is checked, then its query or its body, then
/// its idempotency key.
///
/// # Errors
/// Everything that is wrong with the first of them that is wrong.
pub(super) fn action(
    route: Route<'_>,
    head: &request::Parts,
    body: &Value,
) -> Result<Action, ApiError> {
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let query = |key: &str| query_value(head.uri.query().unwrap_or_default(), key);
    let intent = match route {
        Route::Sessions if reads => {
            return parse_list(query).map(Action::List).map_err(ApiError::validation);
        }
        Route::Session(id) if reads => {
            let session = session_id(id)?;
            let consistency = parse_consistency(query("consistency").as_deref());
            let consistency = consistency.map_err(ApiError::validation)?;
            return Ok(Action::Read(session, consistency));
        }
        Route::Sessions => {
            let (new, on_outage) = parse_create(body).map_err(ApiError::validation)?;
            Intent::create(new, on_outage)
        }
        Route::Session(id) => Intent::Delete { session: session_id(id)? },
        Route::Command(id, command) => command_intent(command, session_id(id)?, body)?,
        Route::Batch => {
            Intent::Atomic { intents: parse_batch(body).map_err(ApiError::validation)? }
        }
        Route::Events(_)
        | Route::Time
        | Route::Node
        | Route::ClusterStatus
        | Route::ClusterNodes
        | Route::Health
        | Route::Ready
        | Route::Metrics
        | Route::OpenApi
        | Route::DocsRoot
        | Route::Docs(_)
        | Route::Unmatched => return Err(ApiError::new(Kind::NotFound, "not a session route")),
    };
    keyed(intent, head).map(Action::Propose)
}

/// The intent under its idempotency key, where the request has one.
fn keyed(intent: Intent, head: &request::Parts) -> Result<Intent, ApiError> {
    let key = idempotency::key(&head.headers);
    let Some(key) = key.map_err(|issue| ApiError::validation(vec![issue]))? else {
        return Ok(intent);
    };
    // What the request means, whatever its spelling: the same on every node, and for ever.
    let meaning = codec::encode(codec::Kind::PeerRequest, 1, &intent).map_err(|error| {
        tracing::error!(%error, "a request cannot be encoded");
        ApiError::new(Kind::Internal, "Internal server error")
    })?;
    let key = RequestKey { key, digest: *blake3::hash(&meaning).as_bytes() };
    Ok(Intent::Once { key, intent: Box::new(intent) })
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

pub(super) fn session_id(raw: &str) -> Result<SessionId, ApiError> {
    let id = percent_decode(raw).ok_or_else(|| ApiError::unreadable("path", "broken escape"))?;
    id.parse().map_err(|_| {
        let message = "Session ID must be a valid UUID";
        ApiError::validation(vec![FieldIssue::new("id", IssueCode::InvalidFormat, message)])
    })
}

/// Counts each switch; `None` where there is none, or its limiter is off.
///
/// # Errors
/// 429 where a session has seen as many as it may.
pub(super) fn admit_switches(edge: Edge<'_>, action: &Action) -> Result<Option<Verdict>, Verdict> {
    let Action::Propose(intent) = action else { return Ok(None) };
    match plain(intent) {
        Intent::Switch { session, .. } => admit_switch(edge, *session),
        Intent::Atomic { intents } => {
            for intent in intents {
                if let Intent::Switch { session, .. } = intent {
                    admit_switch(edge, *session)?;
                }
            }
            // The headers of the answer are about the requests of the caller.
            Ok(None)
        }
        Intent::Create(_)
        | Intent::CreateWith { .. }
        | Intent::Start { .. }
        | Intent::Pause { .. }
        | Intent::Resume { .. }
        | Intent::Complete { .. }
        | Intent::Delete { .. }
        | Intent::Once { .. } => Ok(None),
    }
}

fn admit_switch(edge: Edge<'_>, session: SessionId) -> Result<Option<Verdict>, Verdict> {
    match edge.limits.switch(session, edge.now) {
        Some(verdict) if !verdict.allowed => Err(verdict),
        verdict => Ok(verdict),
    }
}

/// What is asked for, without the key under which it is asked.
fn plain(intent: &Intent) -> &Intent {
    match intent {
        Intent::Once { intent, .. } => intent,
        Intent::Create(_)
        | Intent::CreateWith { .. }
        | Intent::Start { .. }
        | Intent::Switch { .. }
        | Intent::Pause { .. }
        | Intent::Resume { .. }
        | Intent::Complete { .. }
        | Intent::Delete { .. }
        | Intent::Atomic { .. } => intent,
    }
}

/// Carries the action out and renders what came of it.
pub(super) async fn perform(state: &AppState, action: Action, request_id: &str) -> Reply {
    match action {
        Action::Read(id, Consistency::Linearizable) => {
            render_read(id, state.sessions.read(id).await.as_ref())
        }
        Action::Read(id, Consistency::Stale) => render_stale(state, id),
        Action::List(query) => match state.sessions.list(query).await {
            Ok(page) => render_page(&page),
            Err(refusal) => ApiError::from(refusal).into(),
        },
        Action::Propose(intent) => {
            let asked = plain(&intent);
            let created = matches!(asked, Intent::Create(_) | Intent::CreateWith { .. });
            let switched = matches!(asked, Intent::Switch { .. });
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

fn render_stale(state: &AppState, id: SessionId) -> Reply {
    let (session, freshness) = state.sessions.read_stale(id);
    match session {
        Some(session) => {
            let data = SessionState::from(&*session);
            Reply::json(StatusCode::OK, &StaleAnswer { data, freshness })
        }
        None => ApiError::from(Refusal::Rejected(Reject::SessionNotFound(id)))
            .with("revision", freshness.revision)
            .with("as_of_ms", freshness.as_of_ms.unix_millis())
            .with("leader_heard_ms", freshness.leader_heard_ms.get())
            .into(),
    }
}

fn render_page(page: &Page) -> Reply {
    let data = page.sessions.iter().map(|session| SessionState::from(&**session)).collect();
    let (next_cursor, freshness) = (page.next, page.freshness);
    Reply::json(StatusCode::OK, &ListAnswer { data, next_cursor, freshness })
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
        Ok(Answer::Batch(answers)) => {
            let results = answers.iter().filter_map(BatchResult::of).collect();
            Reply::json(StatusCode::OK, &Envelope { data: BatchResults { results } })
        }
        // No client command is answered so.
        Ok(Answer::Swept { .. } | Answer::Done | Answer::Admitted { .. }) => {
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
