//! `[backup]`: the backups that a node makes by itself.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackupSettings {
    /// Where this node puts its backups. It must exist, and does best on another disk. Default
    /// empty: it makes none.
    pub(crate) directory: PathBuf,
    /// From one backup to the next. Each reads the whole state. At least 1. Default 86400, a day.
    pub(crate) interval_seconds: u64,
    /// How many of its backups a node keeps; while it writes one there is one more. At least 1.
    /// Default 7.
    pub(crate) keep: usize,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self { directory: PathBuf::new(), interval_seconds: 24 * 60 * 60, keep: 7 }
    }
}

impl BackupSettings {
    pub(crate) fn is_on(&self) -> bool {
        !self.directory.as_os_str().is_empty()
    }

    pub(crate) const fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds)
    }
}
