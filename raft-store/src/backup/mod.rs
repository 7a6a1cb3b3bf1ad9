//! Backups: the state at one revision in one file, from which a new cluster can begin.
//!
//! ```text
//! manifest | header | chunks of rows | trailer
//! ```
//!
//! The manifest says where and when; what follows has the form of a snapshot, with its checksums
//! and the hash over all. Updates that are kept for subscribers are no part of it: they belong to
//! the cluster that sent them.

mod create;
mod read;
mod restore;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    codec::{DecodeError, EncodeError},
    time::Stamp,
};

use crate::{
    error::OpenError, log::FoundError, snapshot::format::SnapshotError, state::StateError,
};

pub use create::create;
pub use read::{Row, read, verify};
pub use restore::{Place, restore};

pub(crate) const MANIFEST_FORMAT: u16 = 1;

/// What a backup says of itself. Frozen: a change is a new struct and a higher format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestV1 {
    pub origin: Origin,
    /// Index of the last log entry that is in it.
    pub revision: u64,
    /// Cluster time at that revision.
    pub cluster_time: Stamp,
    /// The format level of the cluster.
    pub level: u16,
    pub sessions: u64,
    /// Answers to requests with an idempotency key.
    pub answers: u64,
}

/// Where a backup comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub cluster: String,
    /// The node that wrote it.
    pub node: u64,
    /// Of the program.
    pub version: String,
    /// By that node's wall clock, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

/// A backup cannot be made, read or used. Every message ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this node has applied nothing yet; wait until it is ready")]
    Nothing,
    #[error("cannot write the backup: {0}; look for room and for rights where it goes")]
    Write(SnapshotError),
    #[error("cannot read the state of this node: {0}; take the backup from another node")]
    State(#[from] StateError),
    #[error("cannot encode the backup: {0}; take it from another node")]
    Encode(#[from] EncodeError),
    #[error("cannot read {}: {source}; check the path and its rights", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is no backup, or its beginning is damaged: {source}; use another one", path.display())]
    Manifest { path: PathBuf, source: DecodeError },
    #[error("{} was written by a newer version: {source}; use that version", path.display())]
    Newer { path: PathBuf, source: DecodeError },
    #[error("{} is damaged: {source}; use another backup", path.display())]
    Damaged { path: PathBuf, source: SnapshotError },
    #[error("{} is damaged: its manifest speaks of another state; use another backup", path.display())]
    Mismatch { path: PathBuf },
    #[error("{} is not empty; restore into a directory that no node has used", path.display())]
    NotEmpty { path: PathBuf },
    #[error(
        "the backup is of cluster {0} itself; restore it into a new cluster, with an id of its own \
         (`synckairos cluster init` makes one), for nodes of this one may still run"
    )]
    SameCluster(String),
    #[error("node {node} cannot begin the cluster; restore on node {founder}, the first one in it")]
    NotTheFounder { node: u64, founder: u64 },
    #[error("{}: {source}; look for room and for rights there", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Directory(#[from] OpenError),
    #[error("cannot write the log: {0}; look for room and for rights in the data directory")]
    Log(#[from] FoundError),
}

impl BackupError {
    /// The bytes are not those that were written: no version can use them.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Manifest { .. } | Self::Damaged { .. } | Self::Mismatch { .. } => true,
            Self::Nothing
            | Self::Write(_)
            | Self::State(_)
            | Self::Encode(_)
            | Self::Open { .. }
            | Self::Newer { .. }
            | Self::NotEmpty { .. }
            | Self::SameCluster(_)
            | Self::NotTheFounder { .. }
            | Self::Io { .. }
            | Self::Directory(_)
            | Self::Log(_) => false,
        }
    }
}
