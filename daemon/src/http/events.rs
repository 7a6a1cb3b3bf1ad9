//! `GET /v1/sessions/{id}/events`: from an HTTP request to an event stream.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode, header};
use synckairos_protocol::{
    error::Kind,
    ids::SessionId,
    wire::problem::{FieldIssue, IssueCode},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    AppState, edge::Arrival, error::ApiError, reply::Reply, sessions::session_id, text::query_value,
};
use crate::push::events::{self, Begin, Context, Ended};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const LAST_EVENT_ID: &str = "last-event-id";
/// Writes that may wait for the client's connection, of some dozen events each.
const WRITES_MAX: usize = 4;
/// How long a client may leave an event unread.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Often enough for the proxies on the way, which close a connection on which nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the request asks for. The header of a client that comes back goes before the `since` of
/// the URL, which says where it was the first time.
///
/// # Errors
/// What is wrong with the path, the header or the query.
pub(super) fn wanted(
    id: &str,
    head: &http::request::Parts,
) -> Result<(SessionId, Begin), ApiError> {
    let session = session_id(id)?;
    let fault = |field: &str, message: &str| {
        ApiError::validation(vec![FieldIssue::new(field, IssueCode::InvalidFormat, message)])
    };
    if let Some(last) = head.headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty()) {
        let begin = last.to_str().ok().and_then(Begin::parse);
        let message = "Last-Event-ID must be the id of an event, or a version";
        return Ok((session, begin.ok_or_else(|| fault("Last-Event-ID", message))?));
    }
    let query = head.uri.query().unwrap_or_default();
    let Some(since) = query_value(query, "since") else { return Ok((session, Begin::State)) };
    let spelled = match query_value(query, "revision") {
        Some(revision) => format!("{since}-{revision}"),
        None => since,
    };
    match Begin::parse(&spelled) {
        Some(begin @ Begin::After(_)) => Ok((session, begin)),
        Some(Begin::State | Begin::Ended) | None => {
            let message = "since must be the last version that was seen, revision its revision";
            Err(fault("since", message))
        }
    }
}

/// The head of the answer, and its body where it is a stream.
pub(super) async fn open(
    state: &AppState,
    arrival: &Arrival,
    session: SessionId,
    begin: Begin,
) -> (Reply, Option<Body>) {
    if begin == Begin::Ended {
        // The one answer that keeps a browser from coming back again and again.
        return (Reply::empty(StatusCode::NO_CONTENT), None);
    }
    let context = Context {
        source: state.source(),
        staleness: state.sessions.staleness(),
        stopping: arrival.stopping.clone(),
        send: SEND_MAX,
        keep_alive: KEEP_ALIVE,
    };
    let (ready, readiness) = oneshot::channel();
    let (outlet, events) = mpsc::channel(WRITES_MAX);
    let (open, cut) = (state.metrics.event_stream_opened(), arrival.cut.clone());
    let permit = arrival.permit.clone();
    // Of its own: what it holds is given back whenever the request is dropped.
    arrival.sockets.spawn(async move {
        if events::run(context, (session, begin), ready, outlet).await == Ended::Slow {
            cut.cancel();
        }
        drop((open, permit));
    });
    match readiness.await {
        Ok(Ok(())) => (head(), Some(body(events))),
        Ok(Err(refusal)) => (ApiError::from(refusal).into(), None),
        Err(_) => (ApiError::new(Kind::ShuttingDown, "this node is stopping").into(), None),
    }
}

fn head() -> Reply {
    let plain = HeaderValue::from_static;
    Reply::typed(StatusCode::OK, EVENT_STREAM, Bytes::new())
        .with(header::CACHE_CONTROL, plain("no-store"))
        // nginx collects an answer before it passes it on, unless it is told not to.
        .with(HeaderName::from_static("x-accel-buffering"), plain("no"))
}

fn body(events: mpsc::Receiver<Bytes>) -> Body {
    Body::from_stream(stream::unfold(events, |mut events| async move {
        let written = events.recv().await?;
        Some((Ok::<_, Infallible>(written), events))
    }))
}
