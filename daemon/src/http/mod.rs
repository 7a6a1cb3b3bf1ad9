//! The client port: REST, WebSocket upgrades, health, metrics and documentation.
//!
//! A request passes, in v2's order: CORS, body, routes without a limit, general limiter, path,
//! body's rules, switch limiter, session. Everything before the session is a function of the
//! request and the counters, so it is tested without a cluster.

mod body;
mod cors;
mod docs;
mod edge;
mod error;
mod etag;
mod events;
mod idempotency;
mod openapi;
mod reply;
mod request_id;
mod route;
mod server;
mod sessions;
pub(crate) mod settings;
mod status;
mod text;
mod upgrade;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use synckairos_protocol::time::Millis;

use crate::{
    admission::Limits,
    health::Survey,
    push::{Hub, Replays, Source},
    raft::clock::ClusterClock,
    sessions::Sessions,
    telemetry::metrics::Metrics,
};
use settings::HttpSettings;

pub(crate) use server::serve;

/// What every request may use.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) sessions: Sessions,
    pub(crate) survey: Survey,
    pub(crate) clock: ClusterClock,
    pub(crate) hub: Hub,
    pub(crate) replays: Replays,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) settings: HttpSettings,
}

/// What a request may use before it reaches a session.
#[derive(Clone, Copy)]
struct Edge<'a> {
    clock: &'a ClusterClock,
    limits: &'a Limits,
    settings: &'a HttpSettings,
    /// When the request arrived, in the limiters' time.
    now: Millis,
}

impl AppState {
    /// Where streams of sessions come from.
    fn source(&self) -> Source {
        let (read, past, clock) =
            (self.sessions.clone(), self.sessions.clone(), self.clock.clone());
        Source {
            hub: self.hub.clone(),
            read: Arc::new(move |id| {
                let sessions = read.clone();
                Box::pin(async move { sessions.read(id).await })
            }),
            past: Arc::new(move |id, after| {
                let sessions = past.clone();
                Box::pin(async move { sessions.past(id, after).await })
            }),
            clock: Arc::new(move || clock.estimate()),
            replays: self.replays.clone(),
        }
    }

    fn edge(&self) -> Edge<'_> {
        Edge {
            clock: &self.clock,
            limits: &self.limits,
            settings: &self.settings,
            now: self.limits.now(),
        }
    }
}
