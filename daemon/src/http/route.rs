//! Which route a path names. Case does not matter, nor does a slash at the end, as in v2.

use http::Method;

/// What a path names. Ids are as they stand in the path, escapes and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Sessions,
    Session(&'a str),
    Command(&'a str, Command),
    Batch,
    /// The session's updates, as an event stream.
    Events(&'a str),
    Time,
    Node,
    ClusterStatus,
    ClusterNodes,
    Health,
    Ready,
    Metrics,
    OpenApi,
    /// `/api-docs`, without the slash that relative links need.
    DocsRoot,
    /// A file of the documentation page.
    Docs(&'a str),
    Unmatched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Start,
    Switch,
    Pause,
    Resume,
    Complete,
}

const COMMANDS: [(&str, Command); 5] = [
    ("start", Command::Start),
    ("switch", Command::Switch),
    ("pause", Command::Pause),
    ("resume", Command::Resume),
    ("complete", Command::Complete),
];

const EVENTS: &str = "events";

const READ: &[Method] = &[Method::GET, Method::HEAD];
const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const SESSIONS: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
const SESSION: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];

impl<'a> Route<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        if let Some(tail) = strip_prefix_ignoring_case(path, "/api-docs") {
            match tail {
                "" => return Self::DocsRoot,
                ".json" | ".json/" => return Self::OpenApi,
                _ => {}
            }
            if let Some(file) = tail.strip_prefix('/') {
                return Self::Docs(file);
            }
        }
        let trimmed = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
        let mut segments = trimmed.split('/');
        if segments.next() != Some("") {
            return Self::Unmatched;
        }
        let segments: Vec<&str> = segments.take(5).collect();
        let is = |position: usize, word: &str| {
            segments.get(position).is_some_and(|segment| segment.eq_ignore_ascii_case(word))
        };
        match segments.len() {
            1 if is(0, "health") => Self::Health,
            1 if is(0, "ready") => Self::Ready,
            1 if is(0, "metrics") => Self::Metrics,
            2 if is(0, "v1") && is(1, "time") => Self::Time,
            2 if is(0, "v1") && is(1, "node") => Self::Node,
            2 if is(0, "v1") && is(1, "batch") => Self::Batch,
            3 if is(0, "v1") && is(1, "cluster") && is(2, "status") => Self::ClusterStatus,
            3 if is(0, "v1") && is(1, "cluster") && is(2, "nodes") => Self::ClusterNodes,
            2 if is(0, "v1") && is(1, "sessions") => Self::Sessions,
            3 | 4 if is(0, "v1") && is(1, "sessions") && !segments[2].is_empty() => {
                let id = segments[2];
                match segments.get(3) {
                    None => Self::Session(id),
                    Some(word) if word.eq_ignore_ascii_case(EVENTS) => Self::Events(id),
                    Some(word) => COMMANDS
                        .iter()
                        .find(|(name, _)| name.eq_ignore_ascii_case(word))
                        .map_or(Self::Unmatched, |(_, command)| Self::Command(id, *command)),
                }
            }
            _ => Self::Unmatched,
        }
    }

    /// The pattern of the route, as metrics and v2 write it.
    pub(super) const fn pattern(self) -> &'static str {
        match self {
            Self::Sessions => "/v1/sessions",
            Self::Session(_) => "/v1/sessions/:id",
            Self::Command(_, Command::Start) => "/v1/sessions/:id/start",
            Self::Command(_, Command::Switch) => "/v1/sessions/:id/switch",
            Self::Command(_, Command::Pause) => "/v1/sessions/:id/pause",
            Self::Command(_, Command::Resume) => "/v1/sessions/:id/resume",
            Self::Command(_, Command::Complete) => "/v1/sessions/:id/complete",
            Self::Batch => "/v1/batch",
            Self::Events(_) => "/v1/sessions/:id/events",
            Self::Time => "/v1/time",
            Self::Node => "/v1/node",
            Self::ClusterStatus => "/v1/cluster/status",
            Self::ClusterNodes => "/v1/cluster/nodes",
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/api-docs.json",
            Self::DocsRoot | Self::Docs(_) => "/api-docs",
            Self::Unmatched => "unmatched",
        }
    }

    /// Empty where there is no such route.
    pub(super) const fn methods(self) -> &'static [Method] {
        match self {
            Self::Sessions => SESSIONS,
            Self::Batch | Self::Command(..) => POST,
            Self::Session(_) => SESSION,
            Self::Events(_) => GET,
            Self::Time
            | Self::Node
            | Self::ClusterStatus
            | Self::ClusterNodes
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::DocsRoot
            | Self::Docs(_) => READ,
            Self::Unmatched => &[],
        }
    }

    /// Does the general limiter count requests to it? What watches over a node is not counted.
    pub(super) const fn is_limited(self) -> bool {
        match self {
            Self::Sessions
            | Self::Session(_)
            | Self::Command(..)
            | Self::Batch
            | Self::Events(_)
            | Self::Time
            | Self::Unmatched => true,
            Self::Node
            | Self::ClusterStatus
            | Self::ClusterNodes
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::DocsRoot
            | Self::Docs(_) => false,
        }
    }

    /// The session id in the path.
    pub(super) const fn session(self) -> Option<&'a str> {
        match self {
            Self::Session(id) | Self::Command(id, _) | Self::Events(id) => Some(id),
            Self::Sessions
            | Self::Batch
            | Self::Time
            | Self::Node
            | Self::ClusterStatus
            | Self::ClusterNodes
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::DocsRoot
            | Self::Docs(_)
            | Self::Unmatched => None,
        }
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_as_in_v2() {
        let table = [
            ("/v1/sessions", Route::Sessions),
            ("/V1/Sessions/", Route::Sessions),
            ("/v1/sessions/ab%2Fc", Route::Session("ab%2Fc")),
            ("/v1/sessions/X/", Route::Session("X")),
            ("/v1/sessions/X/SWITCH", Route::Command("X", Command::Switch)),
            ("/v1/sessions/X/resume/", Route::Command("X", Command::Resume)),
            ("/v1/sessions/X/cancel", Route::Unmatched),
            ("/v1/sessions/X/Events", Route::Events("X")),
            ("/v1/sessions/X/events/1", Route::Unmatched),
            ("/v1/sessions/X/start/more", Route::Unmatched),
            ("/v1/sessions//start", Route::Unmatched),
            ("/v1/Batch/", Route::Batch),
            ("/v1/batch/x", Route::Unmatched),
            ("/V1/TIME", Route::Time),
            ("/v1/time/", Route::Time),
            ("/v1/time//", Route::Unmatched),
            ("/v1/node", Route::Node),
            ("/v1/Cluster/status/", Route::ClusterStatus),
            ("/v1/cluster/Nodes", Route::ClusterNodes),
            ("/v1/cluster/nodes/1", Route::Unmatched),
            ("/v1/cluster/nothing", Route::Unmatched),
            ("/health/", Route::Health),
            ("/Ready", Route::Ready),
            ("/metrics", Route::Metrics),
            ("/api-docs.json", Route::OpenApi),
            ("/API-docs", Route::DocsRoot),
            ("/api-docs/", Route::Docs("")),
            ("/api-docs/swagger-ui.css", Route::Docs("swagger-ui.css")),
            ("/api-docs-old", Route::Unmatched),
            ("/ws", Route::Unmatched),
            ("/", Route::Unmatched),
            ("", Route::Unmatched),
            ("*", Route::Unmatched),
            ("/é", Route::Unmatched),
        ];
        for (path, route) in table {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
