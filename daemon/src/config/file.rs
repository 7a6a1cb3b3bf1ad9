//! The configuration file that the program itself writes for a node: what has no default.

use std::net::SocketAddr;

use serde::Serialize;

use super::{ClusterConfig, NodeConfig, PeerConfig};

/// The rest is left to the defaults.
#[derive(Debug, Serialize)]
pub(crate) struct NodeFile {
    pub(crate) node: NodeConfig,
    pub(crate) cluster: ClusterConfig,
    pub(crate) peer: PeerConfig,
    pub(crate) http: HttpFile,
}

#[derive(Debug, Serialize)]
pub(crate) struct HttpFile {
    pub(crate) listen: SocketAddr,
}

impl NodeFile {
    /// # Errors
    /// What TOML says where a path is no UTF-8.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}
