//! A node's configuration: defaults, then a TOML file, then the environment, then flags.
//!
//! A data directory that is named without a file may have one in it, [`HOME_FILE`]. Unknown keys
//! are errors. `synckairos config show` prints the result and where each value came
//! from.

mod check;
pub(crate) mod file;
pub(crate) mod show;
mod sources;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    backup::settings::BackupSettings, disk::DiskSettings, http::settings::HttpSettings,
    raft::settings::RaftSettings, sessions::settings::SessionSettings,
};

pub(crate) use sources::{Flags, load, read};

/// The configuration of the node whose data directory it lies in.
pub(crate) const HOME_FILE: &str = "node.toml";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) node: NodeConfig,
    pub(crate) cluster: ClusterConfig,
    pub(crate) peer: PeerConfig,
    pub(crate) http: HttpSettings,
    pub(crate) sessions: SessionSettings,
    pub(crate) raft: RaftSettings,
    pub(crate) disk: DiskSettings,
    pub(crate) backup: BackupSettings,
    pub(crate) log: LogConfig,
}

/// `[node]`: which node this is, and where it keeps what it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// Names this node in the cluster. From 1; never given to another machine. Required.
    pub(crate) id: u64,
    /// Owned by this node alone. Required.
    pub(crate) data_dir: PathBuf,
}

/// `[cluster]`: who belongs together. The same on every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterConfig {
    /// A UUID in lower case, as the certificates name it. Required.
    pub(crate) id: String,
    /// The nodes that found the cluster, this one among them. Empty where this node joined a
    /// cluster: it learns the members from the leader.
    pub(crate) members: Vec<MemberConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberConfig {
    pub(crate) id: u64,
    /// Where other nodes reach it: host:port, UDP.
    pub(crate) peer: String,
    /// Where clients reach it: host:port.
    pub(crate) http: String,
}

/// `[peer]`: the QUIC port for the other nodes, and how they know each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PeerConfig {
    /// UDP. Default 127.0.0.1:7400.
    pub(crate) listen: SocketAddr,
    /// The cluster's own certificate authority, PEM. Required.
    pub(crate) ca: PathBuf,
    /// This node's certificate, PEM. Required.
    pub(crate) certificate: PathBuf,
    /// This node's private key, PEM. Required.
    pub(crate) key: PathBuf,
    /// The authority's private key, PEM, where this node may let others in. Default none.
    pub(crate) ca_key: Option<PathBuf>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            ca: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            ca_key: None,
        }
    }
}

/// `[log]`: what goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,openraft=warn`.
    /// Default `info`.
    pub(crate) level: String,
    /// Default `text`.
    pub(crate) format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: String::from("info"), format: LogFormat::Text }
    }
}
