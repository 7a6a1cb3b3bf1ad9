//! `[http]`: the client port, and what one client may do to it.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpSettings {
    /// Where clients reach this node. Default 0.0.0.0:3000, as in v2.
    pub(crate) listen: SocketAddr,
    /// Whose web pages may call: an origin, or `*`. Default `*`.
    pub(crate) cors_origin: String,
    /// Requests that one address may send a minute; 0 is no limit. Default 100.
    pub(crate) rate_limit_general: u32,
    /// Switches that one session may see a second; 0 is no limit. Default 10.
    pub(crate) rate_limit_switch: u32,
    /// Whether callers are counted by address or, in tests, by session. Default `production`.
    pub(crate) node_env: NodeEnv,
    /// Connections open at once, WebSockets among them. Default 10000.
    pub(crate) connections_max: usize,
    /// Sessions that one WebSocket may watch. Default 256.
    pub(crate) subscriptions_per_socket_max: usize,
    /// How long the head of a request may take, and how long an idle connection is kept.
    /// Default 10000 ms.
    pub(crate) header_read_timeout_ms: u64,
    /// How long the body of a request may take. Default 10000 ms.
    pub(crate) body_read_timeout_ms: u64,
    /// How long requests under way may take once the node is stopping. Default 5000 ms.
    pub(crate) shutdown_grace_ms: u64,
    /// Whether each request leaves a line in the log. Default true.
    pub(crate) access_log: bool,
}

/// v2's `NODE_ENV`. Any other word is `production`, as in v2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", rename_all = "snake_case")]
pub(crate) enum NodeEnv {
    #[default]
    Production,
    Development,
    Test,
}

impl From<String> for NodeEnv {
    fn from(word: String) -> Self {
        match word.as_str() {
            "development" => Self::Development,
            "test" => Self::Test,
            _ => Self::Production,
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 3000)),
            cors_origin: String::from("*"),
            rate_limit_general: 100,
            rate_limit_switch: 10,
            node_env: NodeEnv::Production,
            connections_max: 10_000,
            subscriptions_per_socket_max: 256,
            header_read_timeout_ms: 10_000,
            body_read_timeout_ms: 10_000,
            shutdown_grace_ms: 5_000,
            access_log: true,
        }
    }
}

impl HttpSettings {
    pub(crate) const fn header_read_timeout(&self) -> Duration {
        Duration::from_millis(self.header_read_timeout_ms)
    }

    pub(crate) const fn body_read_timeout(&self) -> Duration {
        Duration::from_millis(self.body_read_timeout_ms)
    }

    pub(crate) const fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}
