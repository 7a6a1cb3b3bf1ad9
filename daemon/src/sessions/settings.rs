//! `[sessions]`: how long requests and ended sessions are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use synckairos_protocol::time::Millis;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionSettings {
    /// How long a request may wait for a leader and a majority. Default 5000 ms.
    pub(crate) request_timeout_ms: u64,
    /// How long a session that ended or never started is kept. Default 24 h.
    pub(crate) retention_ms: Millis,
    /// Versions of each session that are kept for subscribers that were away. Default 1024.
    pub(crate) resume_window: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            request_timeout_ms: 5_000,
            retention_ms: Millis::new(24 * 3_600_000),
            resume_window: 1_024,
        }
    }
}

impl SessionSettings {
    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}
