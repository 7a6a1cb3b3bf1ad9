//! From an HTTP request to a WebSocket. What is wrong with the session id is told on the open
//! socket, as in v2.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, ws::WebSocketUpgrade},
};
use http::{HeaderMap, Method, Request, Response, header};
use synckairos_protocol::{error::Kind, ids::SessionId};

use super::{AppState, edge::Arrival, error::ApiError, reply::Reply, text::query_value};
use crate::push::{
    Point,
    socket::{self, Begin, Context, Watch},
};

/// The only path that is upgraded, to the letter.
const PATH: &str = "/ws";
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Clients say little: a small buffer keeps ten thousand sockets cheap.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Does the request ask for a WebSocket?
pub(super) fn is_wanted(method: &Method, headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    *method == Method::GET && upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Answers the handshake and starts the socket's task.
pub(super) async fn respond(
    state: &AppState,
    arrival: Arrival,
    request: Request<Body>,
) -> Response<Body> {
    let (mut head, _) = request.into_parts();
    if head.uri.path() != PATH {
        return refusal("WebSockets are served at /ws");
    }
    let watch = watch(head.uri.query().unwrap_or_default());
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refusal(&rejection.body_text()),
    };
    let survey = state.survey.clone();
    let context = Context {
        source: state.source(),
        staleness: state.sessions.staleness(),
        membership: Arc::new(move || survey.membership_revision()),
        stopping: arrival.stopping,
        timing: socket::Timing::default(),
        subscriptions_max: state.settings.subscriptions_per_socket_max,
    };
    let open = state.metrics.socket_opened();
    let tracked = (arrival.sockets.token(), arrival.permit);
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            socket::run(socket, watch, context).await;
            drop((open, tracked));
        })
}

fn watch(query: &str) -> Watch {
    let spelled = query_value(query, "sessionId").unwrap_or_default();
    if spelled.is_empty() {
        return Watch::MissingId;
    }
    let snapshot = query_value(query, "snapshot").is_some_and(|value| value == "true");
    let Ok(session) = SessionId::parse_loose(&spelled) else { return Watch::MalformedId };
    let (Ok(since), Ok(revision)) = (number(query, "since"), number(query, "revision")) else {
        return Watch::MalformedSince;
    };
    let after = since.map(|version| Point { version, revision });
    Watch::Session { session, begin: Begin { after, snapshot } }
}

/// The whole number of a parameter, where there is one.
fn number(query: &str, key: &str) -> Result<Option<u64>, std::num::ParseIntError> {
    query_value(query, key).map(|value| value.parse()).transpose()
}

fn refusal(message: &str) -> Response<Body> {
    let reply = Reply::from(ApiError::new(Kind::Validation, message));
    reply.with(header::CONNECTION, http::HeaderValue::from_static("close")).into_response(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_comes_from_the_query() {
        let id = "123e4567-e89b-92d3-C456-426614174000";
        let session = SessionId::parse_loose(id).unwrap();
        let watch_from = |after, snapshot| {
            let begin = Begin { after, snapshot };
            Watch::Session { session, begin }
        };
        let point = |version, revision| Some(Point { version, revision });
        let table = [
            (format!("sessionId={id}"), watch_from(None, false)),
            (format!("sessionId={id}&snapshot=true&sessionId=x"), watch_from(None, true)),
            (format!("sessionId={id}&since=0"), watch_from(point(0, None), false)),
            (
                format!("since=7&revision=31&sessionId={id}&snapshot=true"),
                watch_from(point(7, Some(31)), true),
            ),
            (format!("sessionId={id}&revision=31"), watch_from(None, false)),
            (format!("sessionId={id}&since="), Watch::MalformedSince),
            (format!("sessionId={id}&since=-1"), Watch::MalformedSince),
            (format!("sessionId={id}&since=1&revision=x"), Watch::MalformedSince),
            (format!("session_id={id}"), Watch::MissingId),
            (String::from("sessionId="), Watch::MissingId),
            (String::new(), Watch::MissingId),
            (String::from("sessionId=nonsense&since=x"), Watch::MalformedId),
        ];
        for (query, expected) in table {
            assert_eq!(watch(&query), expected, "{query}");
        }
    }
}
