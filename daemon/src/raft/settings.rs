//! `[raft]`: how fast a lost leader is noticed, and how much log is kept.

use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};

/// Log entries taken off the log at once, so that RocksDB sees few range tombstones.
const PURGE_BATCH_ENTRIES: u64 = 256;
/// A snapshot that takes longer to send is given up and begun anew.
const SNAPSHOT_TIMEOUT_MS: u64 = 120_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RaftSettings {
    /// How often the leader says that it is there. Default 40 ms.
    pub(crate) heartbeat_interval_ms: u64,
    /// A follower that hears nothing for `election_timeout_max_ms` and a random time between
    /// these two campaigns. Default 120 ms; at least three heartbeats.
    pub(crate) election_timeout_min_ms: u64,
    /// Default 200 ms.
    pub(crate) election_timeout_max_ms: u64,
    /// A snapshot is taken after this many log entries. Default 5000.
    pub(crate) snapshot_after_entries: u64,
    /// A snapshot is taken after this many commands, however few entries they came in.
    /// Default 50000.
    pub(crate) snapshot_after_commands: u64,
    /// Entries that a snapshot covers and that are kept all the same, so that a node that was away
    /// for a moment catches up from the log. Default 1000.
    pub(crate) log_entries_kept: u64,
}

impl Default for RaftSettings {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 40,
            election_timeout_min_ms: 120,
            election_timeout_max_ms: 200,
            snapshot_after_entries: 5_000,
            snapshot_after_commands: 50_000,
            log_entries_kept: 1_000,
        }
    }
}

/// The settings contradict each other.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaftSettingsError {
    #[error(
        "raft.election_timeout_min_ms is {min_ms}, which is under three heartbeats of \
         {heartbeat_ms} ms; raise it, or lower raft.heartbeat_interval_ms"
    )]
    ElectionTooSoon { min_ms: u64, heartbeat_ms: u64 },
    #[error("raft: {0}")]
    Engine(#[from] openraft::ConfigError),
}

impl RaftSettings {
    /// openraft's configuration.
    ///
    /// # Errors
    /// [`RaftSettingsError`] names the setting to change.
    pub(crate) fn to_engine(&self, cluster: &str) -> Result<Config, RaftSettingsError> {
        let (heartbeat_ms, min_ms) = (self.heartbeat_interval_ms, self.election_timeout_min_ms);
        if min_ms < heartbeat_ms.saturating_mul(3) {
            return Err(RaftSettingsError::ElectionTooSoon { min_ms, heartbeat_ms });
        }
        let config = Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: heartbeat_ms,
            election_timeout_min: min_ms,
            election_timeout_max: self.election_timeout_max_ms,
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            max_payload_entries: 64,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            purge_batch_size: PURGE_BATCH_ENTRIES.min(self.log_entries_kept.max(1)),
            replication_lag_threshold: self.snapshot_after_entries.saturating_add(1_000),
            // A node that was cut off must not disturb the others when it comes back.
            enable_pre_vote: Some(true),
            // A leader that a restart brings back must win a new term before it serves.
            enable_leader_restore: Some(false),
            // A leader that only some voters hear gives way instead of blocking the rest.
            quorum_loss_probe_interval: Some(
                self.election_timeout_max_ms.saturating_mul(2).saturating_add(100),
            ),
            ..Config::default()
        };
        Ok(config.validate()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_hasty_elections_are_not() {
        assert!(RaftSettings::default().to_engine("test").is_ok());
        let hasty = RaftSettings { election_timeout_min_ms: 119, ..RaftSettings::default() };
        let error = hasty.to_engine("test").err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("three heartbeats")));
    }
}
