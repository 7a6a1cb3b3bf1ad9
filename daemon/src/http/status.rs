//! Routes about the node itself: health, readiness, time, metrics, its place in the cluster.

use http::{HeaderValue, StatusCode};
use serde_json::json;
use synckairos_protocol::wire::rest::{NodeAnswer, NodesAnswer, TimeAnswer};

use super::{AppState, Edge, error::ApiError, reply::Reply};
use crate::{
    health::status::ClusterStatus,
    sessions::{NodeStatus, refusal::Refusal},
    telemetry::sampler,
};

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process answers, whatever the cluster does.
pub(super) fn health() -> Reply {
    Reply::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// Can this node serve, or what is missing?
pub(super) fn ready(readiness: Result<(), String>) -> Reply {
    match readiness {
        Ok(()) => Reply::json(StatusCode::OK, &json!({"status": "ready"})),
        Err(error) => Reply::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"status": "not_ready", "error": error}),
        ),
    }
}

/// A node that has heard no leader since its start does not know the time, and guesses none.
pub(super) fn time(edge: Edge<'_>) -> Reply {
    match edge.clock.known() {
        Some(now) => Reply::json(StatusCode::OK, &TimeAnswer::at(now)),
        None => ApiError::from(Refusal::NoLeader).into(),
    }
}

pub(super) fn node(status: NodeStatus) -> Reply {
    Reply::json(
        StatusCode::OK,
        &NodeAnswer {
            node_id: status.node_id,
            role: String::from(status.role),
            term: status.term,
            leader_id: status.leader_id,
            leader_http: status.leader_http,
            last_log: status.last_log,
            applied: status.applied,
            version: String::from(env!("CARGO_PKG_VERSION")),
        },
    )
}

/// Who belongs to the cluster, as this node knows.
pub(super) fn nodes(members: &NodesAnswer) -> Reply {
    Reply::json(StatusCode::OK, members)
}

/// How the cluster is, as this node can tell.
pub(super) fn cluster(status: &ClusterStatus) -> Reply {
    Reply::json(StatusCode::OK, status)
}

/// All metrics; what is a state rather than an event is read at this moment.
pub(super) fn metrics(state: &AppState) -> Reply {
    sampler::sample(&state.metrics, &state.sessions, &state.clock);
    match state.metrics.render() {
        Ok(text) => Reply::typed(StatusCode::OK, HeaderValue::from_static(METRICS_TYPE), text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            Reply::typed(StatusCode::INTERNAL_SERVER_ERROR, plain, "metrics cannot be rendered")
        }
    }
}
