//! The way of a request, from its head to its answer.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use serde_json::Value;
use synckairos_protocol::ids::SessionId;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{
    AppState, Edge,
    body::read_json,
    cors, docs,
    error::ApiError,
    etag, events,
    reply::Reply,
    request_id::{self, RequestId},
    route::Route,
    server::Permit,
    sessions::{self, Action},
    status, upgrade,
};
use crate::{
    admission::Verdict,
    push::events::Begin,
    telemetry::logging::{self, Access},
};

const TOO_MANY_REQUESTS: &str = "Too many requests from this address; wait until the window ends";
const TOO_MANY_SWITCHES: &str =
    "Too many cycle switches in this session; wait until the window ends";
/// Tells clients to let go of an idle connection before the node does.
const KEEP_ALIVE: &str = "timeout=5";
/// By which clients know that the members have changed: the revision of [`status::nodes`].
const MEMBERSHIP: HeaderName = HeaderName::from_static("synckairos-membership");

/// What a request needs to know of the server that it arrived at.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) client: IpAddr,
    pub(super) stopping: CancellationToken,
    /// Cancelled to end this connection at once, whatever its client does.
    pub(super) cut: CancellationToken,
    /// Holds the WebSockets and event streams, which outlive their connection's task.
    pub(super) sockets: TaskTracker,
    /// Counts the connection, and the WebSocket that it becomes, as one of those that may be open.
    pub(super) permit: Permit,
}

/// What the edge made of a request.
#[derive(Debug)]
pub(super) enum Step {
    Answered(Reply),
    /// To be answered by the node, which knows its place in the cluster.
    Node,
    /// To be answered by a session, with the verdict that the answer's headers tell.
    Session(Action, Option<Verdict>),
    /// To be answered by a stream of the session's events.
    Events(SessionId, Begin, Option<Verdict>),
}

/// Answers one request.
pub(super) async fn handle(
    state: Arc<AppState>,
    arrival: Arrival,
    request: Request<Body>,
) -> Response<Body> {
    let began = Instant::now();
    if upgrade::is_wanted(request.method(), request.headers()) {
        return upgrade::respond(&state, arrival, request).await;
    }
    let (head, body) = request.into_parts();
    let request_id = RequestId::of(&head.headers);
    let path = head.uri.path();
    let route = Route::of(path);
    let span = tracing::info_span!("request", request_id = request_id.as_str());

    let answer = async {
        let reply = match approach(state.edge(), arrival.client, &head, body).await {
            Step::Answered(reply) => reply,
            Step::Node => node_reply(&state, route).await,
            Step::Events(session, begin, verdict) => {
                let (mut reply, events) = events::open(&state, &arrival, session, begin).await;
                if let Some(verdict) = verdict {
                    sessions::rate_limit_headers(&mut reply, verdict);
                }
                return (reply, events);
            }
            Step::Session(action, verdict) => {
                let mut reply = sessions::perform(&state, action, request_id.as_str()).await;
                if let Some(verdict) = verdict {
                    sessions::rate_limit_headers(&mut reply, verdict);
                }
                reply
            }
        };
        (reply, None)
    };
    let (reply, events) = answer.instrument(span).await;

    let status = reply.status.as_u16();
    let took = began.elapsed();
    state.metrics.http_request(method_label(&head.method), route.pattern(), status, took);
    if state.settings.access_log {
        logging::access(&Access {
            request_id: request_id.as_str(),
            method: method_label(&head.method),
            path,
            status,
            took,
            client: arrival.client,
        });
    }
    let mut response = dress(reply, &head, &state.settings.cors_origin, request_id);
    response.headers_mut().insert(MEMBERSHIP, state.survey.membership_revision().into());
    match events {
        Some(events) => response.map(|_| events),
        None => response,
    }
}

/// Everything up to the session, in v2's order.
pub(super) async fn approach(
    edge: Edge<'_>,
    client: IpAddr,
    head: &http::request::Parts,
    body: Body,
) -> Step {
    if head.method == Method::OPTIONS {
        return Step::Answered(cors::preflight(&head.headers));
    }
    let body = match read_json(&head.headers, body, edge.settings.body_read_timeout()).await {
        Ok(body) => body,
        Err(error) => {
            let spoils = error.spoils_connection();
            let mut reply = Reply::from(ApiError::from(error));
            if spoils {
                reply.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return Step::Answered(reply);
        }
    };
    let route = Route::of(head.uri.path());
    if !route.is_limited() {
        return unlimited(route, &head.method, head.uri.path());
    }
    let verdict = edge.limits.general(client, route.session(), edge.now);
    if let Some(verdict) = verdict
        && !verdict.allowed
    {
        return Step::Answered(refuse(TOO_MANY_REQUESTS, verdict));
    }
    match limited(edge, route, head, &body) {
        Step::Answered(mut reply) => {
            // The switch limiter's own headers stand where it refused.
            if let Some(verdict) = verdict
                && !reply.headers.contains_key("ratelimit-limit")
            {
                sessions::rate_limit_headers(&mut reply, verdict);
            }
            Step::Answered(reply)
        }
        Step::Session(action, of_switch) => Step::Session(action, of_switch.or(verdict)),
        Step::Events(session, begin, _) => Step::Events(session, begin, verdict),
        Step::Node => Step::Node,
    }
}

fn unlimited(route: Route<'_>, method: &Method, path: &str) -> Step {
    if let Some(error) = wrong_method(route, method, path) {
        return Step::Answered(error.into());
    }
    match route {
        Route::Health => Step::Answered(status::health()),
        Route::OpenApi => Step::Answered(docs::specification()),
        Route::DocsRoot => Step::Answered(docs::redirect()),
        Route::Docs(file) => Step::Answered(docs::file(file)),
        Route::Ready
        | Route::Metrics
        | Route::Node
        | Route::ClusterStatus
        | Route::ClusterNodes => Step::Node,
        Route::Sessions
        | Route::Session(_)
        | Route::Command(..)
        | Route::Batch
        | Route::Events(_)
        | Route::Time
        | Route::Unmatched => Step::Answered(ApiError::not_found(method, path).into()),
    }
}

fn limited(edge: Edge<'_>, route: Route<'_>, head: &http::request::Parts, body: &Value) -> Step {
    if let Some(error) = wrong_method(route, &head.method, head.uri.path()) {
        return Step::Answered(error.into());
    }
    if route == Route::Time {
        return Step::Answered(status::time(edge));
    }
    if let Route::Events(id) = route {
        return match events::wanted(id, head) {
            Ok((session, begin)) => Step::Events(session, begin, None),
            Err(error) => Step::Answered(error.into()),
        };
    }
    let action = match sessions::action(route, head, body) {
        Ok(action) => action,
        Err(error) => return Step::Answered(error.into()),
    };
    match sessions::admit_switches(edge, &action) {
        Ok(verdict) => Step::Session(action, verdict),
        Err(verdict) => Step::Answered(refuse(TOO_MANY_SWITCHES, verdict)),
    }
}

async fn node_reply(state: &AppState, route: Route<'_>) -> Reply {
    match route {
        Route::ClusterStatus => status::cluster(&*state.survey.status().await),
        Route::ClusterNodes => status::nodes(&state.survey.members()),
        Route::Metrics => status::metrics(state),
        Route::Node => status::node(state.sessions.status()),
        Route::Ready
        | Route::Sessions
        | Route::Session(_)
        | Route::Command(..)
        | Route::Batch
        | Route::Events(_)
        | Route::Time
        | Route::Health
        | Route::OpenApi
        | Route::DocsRoot
        | Route::Docs(_)
        | Route::Unmatched => status::ready(state.sessions.ready()),
    }
}

fn wrong_method(route: Route<'_>, method: &Method, path: &str) -> Option<ApiError> {
    match route.methods() {
        [] => Some(ApiError::not_found(method, path)),
        allowed if allowed.contains(method) => None,
        allowed => Some(ApiError::method_not_allowed(method, allowed)),
    }
}

fn refuse(message: &str, verdict: Verdict) -> Reply {
    let mut reply = Reply::from(ApiError::rate_limited(message, verdict));
    sessions::rate_limit_headers(&mut reply, verdict);
    reply
}

/// Adds what every answer carries.
fn dress(
    reply: Reply,
    head: &http::request::Parts,
    origin: &str,
    request_id: RequestId,
) -> Response<Body> {
    let mut reply = etag::revalidate(reply, &head.method, &head.headers);
    cors::apply(&mut reply.headers, origin);
    reply.headers.insert(request_id::HEADER, request_id.into_header());
    if head.version == Version::HTTP_11 && !closes(&head.headers) && !closes(&reply.headers) {
        let name = HeaderName::from_static("keep-alive");
        reply.headers.insert(name, HeaderValue::from_static(KEEP_ALIVE));
    }
    reply.into_response(head.method == Method::HEAD)
}

fn closes(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONNECTION).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.to_ascii_lowercase().contains("close"))
}

/// One label for whatever a client invents, so that metrics stay bounded.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
