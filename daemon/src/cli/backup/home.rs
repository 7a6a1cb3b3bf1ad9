//! What a node needs beside its data, in its data directory: `node.toml` and `tls/`.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    config::{ClusterConfig, MemberConfig, NodeConfig, PeerConfig},
    pki::{ClusterId, PkiError, ca::ClusterCa, identity::IdentityFiles},
};

pub(super) const CONFIG: &str = "node.toml";
const TLS: &str = "tls";

/// The first node of a new cluster, and where it is reached, each `host:port`.
#[derive(Debug)]
pub(super) struct Founder {
    pub(super) cluster: ClusterId,
    pub(super) node: u64,
    pub(super) peer: String,
    pub(super) http: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HomeError {
    #[error("{0:?} is no host:port")]
    NoAddress(String),
    #[error("cannot write {}: {source}; look for room and for rights there", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Pki(#[from] PkiError),
}

#[derive(Serialize)]
struct NodeFile {
    node: NodeConfig,
    cluster: ClusterConfig,
    peer: PeerConfig,
    http: HttpFile,
}

#[derive(Serialize)]
struct HttpFile {
    listen: SocketAddr,
}

/// Makes the cluster's authority, the node's certificate and its configuration.
pub(super) fn lay_out(data_dir: &Path, founder: &Founder) -> Result<(), HomeError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| HomeError::Write { path, source }
    };
    let tls = data_dir.join(TLS);
    fs::create_dir_all(&tls).map_err(write(&tls))?;
    let now = SystemTime::now();
    let ca = ClusterCa::create(founder.cluster, now)?;
    ca.save(&tls)?;
    ca.issue_node(founder.node, now)?.save(&tls)?;

    let IdentityFiles { ca, certificate, key } = IdentityFiles::in_directory(&tls);
    let Founder { cluster, node: id, peer, http } = founder;
    let member = MemberConfig { id: *id, peer: peer.clone(), http: http.clone() };
    let file = NodeFile {
        node: NodeConfig { id: *id, data_dir: data_dir.to_owned() },
        cluster: ClusterConfig { id: cluster.to_string(), members: vec![member] },
        peer: PeerConfig { listen: listen(peer)?, ca, certificate, key },
        http: HttpFile { listen: listen(http)? },
    };
    let path = data_dir.join(CONFIG);
    let text = toml::to_string_pretty(&file).expect("plain structs of strings and numbers");
    fs::write(&path, text).map_err(write(&path))
}

/// Where it listens to be reached there: everywhere, where the host is a name.
fn listen(address: &str) -> Result<SocketAddr, HomeError> {
    let by_name = || {
        let (_, port) = address.rsplit_once(':')?;
        Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.parse().ok()?)))
    };
    let listen = address.parse().ok().or_else(by_name);
    listen.ok_or_else(|| HomeError::NoAddress(address.to_owned()))
}
