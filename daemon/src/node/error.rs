//! Why a node cannot start, or cannot go on, and with which code its process ends.

use std::{net::SocketAddr, path::PathBuf};

use synckairos_raft_store::OpenError;

use crate::{
    admin::AdminError,
    config::Config,
    disk::{self, DiskError},
    pki::{NotAClusterId, PkiError},
    raft::{endpoint::BindError, settings::RaftSettingsError},
};

/// Whatever has no code of its own.
const EXIT_FAILURE: u8 = 1;
/// EX_DATAERR: starting again does not help, the node must be replaced.
const EXIT_DATA_DAMAGED: u8 = 65;
/// EX_CONFIG: this node does not belong to the cluster any more.
const EXIT_REMOVED: u8 = 78;
/// EX_IOERR: the disk is full or fails; once that is mended, starting again helps.
const EXIT_DISK: u8 = 74;

/// The node cannot start, or cannot go on. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    ClusterId(#[from] NotAClusterId),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    Settings(#[from] RaftSettingsError),
    #[error(
        "cannot listen for clients on {address}: {source}; free the port or change http.listen"
    )]
    Http { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Peer(#[from] BindError),
    #[error("the Raft engine does not start: {0}")]
    Raft(String),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error(
        "the store failed: {0}; this node stops rather than go on from a state it cannot trust"
    )]
    Store(String),
    #[error("the Raft engine failed: {0}; this node stops, start it again")]
    Engine(String),
    #[error(
        "the leader sent what this version cannot read ({0}); install the version that the other \
         nodes run"
    )]
    Outdated(String),
    #[error(
        "{} is not what this node had: {what}, and has less now; its disk forgot what it had synced, \
         or this is an old copy. Do not start it again: replace the node (`synckairos cluster replace`)",
        data_dir.display()
    )]
    LogLost { what: String, data_dir: PathBuf },
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(
        "this node was removed from the cluster and ends; its data is of no use any more: delete {}, \
         and let the machine join again as a new node (`synckairos cluster join`)", data_dir.display()
    )]
    Removed { data_dir: PathBuf },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "the disk of {} is full: {reason}; make room there, then start the node again: what it \
         acknowledged is on the disk", data_dir.display()
    )]
    DiskFull { data_dir: PathBuf, reason: String },
    #[error(
        "{damage} (`synckairos cluster replace {node}` on a node that runs prints a token for the new \
         one, and `synckairos cluster join TOKEN` makes it)"
    )]
    Damaged { node: u64, damage: OpenError },
    #[error("the node did not stop within {0} s; what it had acknowledged is on disk")]
    Stop(u64),
}

impl NodeError {
    pub(super) fn of_open(error: OpenError, config: &Config) -> Self {
        let reason = error.to_string();
        if disk::is_full(&reason) {
            return Self::DiskFull { data_dir: config.node.data_dir.clone(), reason };
        }
        if error.is_damage() {
            return Self::Damaged { node: config.node.id, damage: error };
        }
        Self::Open(error)
    }

    /// The code with which the process ends: those of sysexits.h where one fits.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } | Self::LogLost { .. } => EXIT_DATA_DAMAGED,
            Self::Removed { .. } => EXIT_REMOVED,
            Self::Store(_) | Self::Disk(_) | Self::DiskFull { .. } => EXIT_DISK,
            Self::ClusterId(_)
            | Self::Pki(_)
            | Self::Open(_)
            | Self::Settings(_)
            | Self::Http { .. }
            | Self::Peer(_)
            | Self::Raft(_)
            | Self::Admin(_)
            | Self::Signals(_)
            | Self::Engine(_)
            | Self::Outdated(_)
            | Self::Stop(_) => EXIT_FAILURE,
        }
    }
}
