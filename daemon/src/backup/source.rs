//! Where backups come from.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use synckairos_raft_store::{
    Applied,
    backup::{self, BackupError, ManifestV1, Origin},
};
use tokio_util::sync::CancellationToken;

use crate::{
    pki::ClusterId,
    sessions::{Sessions, refusal::Refusal},
};

/// A node's state, for whoever backs it up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) sessions: Sessions,
    pub(crate) applied: Applied,
    pub(crate) cluster: ClusterId,
    pub(crate) node: u64,
    /// Ends whatever is under way: the store closes once nobody reads it.
    pub(crate) stopping: CancellationToken,
}

impl Source {
    /// Waits until this node has applied everything that was acknowledged before the call.
    ///
    /// # Errors
    /// [`Refusal`] where nobody confirms in time how far that is.
    pub(super) async fn catch_up(&self) -> Result<(), Refusal> {
        self.sessions.catch_up().await
    }

    /// Writes a backup; see [`backup::create`]. Blocks.
    pub(super) fn write_to<W: Write>(&self, output: W) -> Result<(ManifestV1, W), BackupError> {
        let origin = Origin {
            cluster: self.cluster.to_string(),
            node: self.node,
            version: String::from(env!("CARGO_PKG_VERSION")),
            created_unix_ms: unix_millis(),
        };
        backup::create(&self.applied, origin, output)
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
