//! Why a data directory cannot be opened, and what its operator can do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use synckairos_protocol::codec::DecodeError;

use crate::snapshot::format::SnapshotError;

/// Every message ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {doing} {}: {source}; check the disk and the rights of this user", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "data directory {} is in use by another process; stop that process, or give this node a \
         directory of its own", directory.display()
    )]
    InUse { directory: PathBuf },
    #[error(
        "data directory {} belongs to cluster {found:?}, and this node is configured for \
         {configured:?}; correct the configuration, or use an empty directory", directory.display()
    )]
    OtherCluster { directory: PathBuf, found: String, configured: String },
    #[error(
        "data directory {} belongs to node {found}, and this node is configured as {configured}; \
         correct the configuration, or use an empty directory", directory.display()
    )]
    OtherNode { directory: PathBuf, found: u64, configured: u64 },
    #[error(
        "{what} was written by a newer version, in format {found}, and this version reads up to \
         {newest}; run the newer version"
    )]
    NewerFormat { what: &'static str, found: u16, newest: u16 },
    #[error("{what} cannot be read: {reason}; {REJOIN}")]
    CorruptMeta { what: &'static str, reason: String },
    #[error("the log is damaged at index {index}: {reason}; {REJOIN}")]
    CorruptLog { index: u64, reason: String },
    #[error("the log in {} cannot be opened: {reason}; {REJOIN}", path.display())]
    UnreadableLog { path: PathBuf, reason: String },
    #[error(
        "data directory {} has an identity but no log, so this node no longer knows what it \
         promised; {REJOIN}", directory.display()
    )]
    LogMissing { directory: PathBuf },
    #[error(
        "what this node acknowledged is lost: the log in {} ended at {acknowledged}, and now ends \
         at {found}; {REJOIN}", path.display()
    )]
    AcknowledgedLost { path: PathBuf, acknowledged: String, found: String },
    #[error(
        "{} is missing, so nobody knows whether the log still holds all that this node \
         acknowledged; {REJOIN}", path.display()
    )]
    MarkMissing { path: PathBuf },
    #[error(
        "state and snapshots reach up to index {applied:?}, and the log begins after {purged}; \
         {REJOIN}"
    )]
    StateBehindLog { applied: Option<u64>, purged: u64 },
    #[error("snapshot {}: {source}; {REJOIN}", path.display())]
    Snapshot { path: PathBuf, source: SnapshotError },
}

/// A damaged node must not vote on with a log that misses what it acknowledged.
const REJOIN: &str = "do not repair it: replace this node by one with a new node id and an empty \
                      data directory";

impl OpenError {
    /// What this node promised is lost: it must be replaced, and starting it again does not help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::CorruptMeta { .. }
            | Self::CorruptLog { .. }
            | Self::UnreadableLog { .. }
            | Self::LogMissing { .. }
            | Self::AcknowledgedLost { .. }
            | Self::MarkMissing { .. }
            | Self::StateBehindLog { .. }
            | Self::Snapshot { .. } => true,
            Self::Io { .. }
            | Self::InUse { .. }
            | Self::OtherCluster { .. }
            | Self::OtherNode { .. }
            | Self::NewerFormat { .. } => false,
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn unusable_snapshot(path: PathBuf, source: SnapshotError) -> Self {
        if let SnapshotError::Damaged {
            source: DecodeError::NewerFormat { actual, newest, .. },
            ..
        } = source
        {
            return Self::NewerFormat { what: "a snapshot", found: actual, newest };
        }
        Self::Snapshot { path, source }
    }
}
