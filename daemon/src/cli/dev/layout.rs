//! The files of a development cluster: certificates, a configuration for each node, who runs.
//!
//! ```text
//! DIR/cluster.json   cluster id, number of nodes, first port; made once
//! DIR/running.json   process ids; rewritten whenever one changes
//! DIR/lock           held by the supervisor
//! DIR/ca.crt ca.key
//! DIR/node-1/        config.toml ca.crt node.crt node.key node.log data/
//! ```

use std::{
    fs::{self, File},
    io,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::running::Running;
use crate::{
    config::{
        ClusterConfig, MemberConfig, NodeConfig, PeerConfig,
        file::{HttpFile, NodeFile},
    },
    pki::{CA_KEY, ClusterId, PkiError, ca::ClusterCa, identity::IdentityFiles},
};

const NODES: u16 = 3;
const HTTP_PORT_BASE: u16 = 3_000;

/// What the command line asks for; what it leaves open is as the directory has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) nodes: Option<u16>,
    pub(super) http_port_base: Option<u16>,
}

/// `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cluster {
    cluster_id: String,
    nodes: u16,
    http_port_base: u16,
}

/// A directory that is ready to run from, locked against a second supervisor.
pub(super) struct Layout {
    dir: PathBuf,
    cluster: Cluster,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    #[error("{path}: {source}; check that the directory is yours to write")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is not empty and was not made by `synckairos dev`; name another with --data-dir")]
    NotOurs(PathBuf),
    #[error(
        "a cluster is running in {0}; stop it first, or name another directory with --data-dir"
    )]
    Running(PathBuf),
    #[error(
        "{dir} holds a cluster with --{flag} {actual}, not {wanted}; leave the flag out, add \
         --fresh to begin anew, or name another directory with --data-dir"
    )]
    Differs { dir: PathBuf, flag: &'static str, actual: u16, wanted: u16 },
    #[error("--nodes is {0}; a cluster has 1, 3, 5 or 7 nodes")]
    Nodes(u16),
    #[error("port {port} is taken ({source}); choose others with --fresh --http-port-base PORT")]
    PortTaken { port: u16, source: io::Error },
    #[error("--http-port-base is {0}; the ports after it end at 65535")]
    NoSuchPort(u16),
    #[error("{path} cannot be read: {reason}; add --fresh to begin anew")]
    Damaged { path: PathBuf, reason: String },
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl Layout {
    pub(super) fn prepare(dir: &Path, wanted: Wanted, fresh: bool) -> Result<Self, LayoutError> {
        let dir = std::path::absolute(dir).map_err(io_at(dir))?;
        let cluster_file = dir.join("cluster.json");
        let empty = fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
        if !empty && !cluster_file.exists() && !dir.join("lock").exists() {
            return Err(LayoutError::NotOurs(dir));
        }
        fs::create_dir_all(&dir).map_err(io_at(&dir))?;
        let lock = lock(&dir)?;
        if fresh {
            clear(&dir)?;
        }
        let cluster = if cluster_file.exists() {
            let cluster = read_cluster(&dir)?;
            check_same(&dir, "nodes", cluster.nodes, wanted.nodes)?;
            check_same(&dir, "http-port-base", cluster.http_port_base, wanted.http_port_base)?;
            cluster
        } else {
            let cluster = Cluster {
                cluster_id: ClusterId::random().to_string(),
                nodes: wanted.nodes.unwrap_or(NODES),
                http_port_base: wanted.http_port_base.unwrap_or(HTTP_PORT_BASE),
            };
            check_new(&cluster)?;
            cluster
        };
        let layout = Self { dir, cluster, _lock: lock };
        layout.check_ports()?;
        if !cluster_file.exists() {
            layout.make_certificates()?;
        }
        layout.write_configs()?;
        // Last: a directory with this file in it is complete.
        layout.write("cluster.json", &to_json(&layout.cluster))?;
        Ok(layout)
    }

    pub(super) fn node_ids(&self) -> impl Iterator<Item = u64> + use<> {
        1..=u64::from(self.cluster.nodes)
    }

    pub(super) fn node_dir(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    pub(super) fn config_file(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("config.toml")
    }

    /// Client and peer port have one number: the one is TCP, the other UDP.
    pub(super) fn address(&self, id: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.cluster.http_port_base) + id - 1)
    }

    /// Replaces `running.json`.
    pub(super) fn write_running(&self, running: &Running) -> Result<(), LayoutError> {
        self.write("running.json", &to_json(running))
    }

    fn make_certificates(&self) -> Result<(), LayoutError> {
        let cluster: ClusterId =
            self.cluster.cluster_id.parse().map_err(damaged(&self.dir.join("cluster.json")))?;
        let now = SystemTime::now();
        let ca = ClusterCa::create(cluster, now)?;
        ca.save(&self.dir)?;
        for id in self.node_ids() {
            let node_dir = self.node_dir(id);
            fs::create_dir_all(&node_dir).map_err(io_at(&node_dir))?;
            ca.issue_node(id, now)?.save(&node_dir)?;
        }
        Ok(())
    }

    fn write_configs(&self) -> Result<(), LayoutError> {
        let members: Vec<_> = self
            .node_ids()
            .map(|id| MemberConfig { id, peer: self.address(id), http: self.address(id) })
            .collect();
        for id in self.node_ids() {
            let path = self.config_file(id);
            let config = self.node_config(id, &members, &path)?;
            let text = config.to_toml().map_err(damaged(&path))?;
            fs::write(&path, text).map_err(io_at(&path))?;
        }
        Ok(())
    }

    fn node_config(
        &self,
        id: u64,
        members: &[MemberConfig],
        path: &Path,
    ) -> Result<NodeFile, LayoutError> {
        let dir = self.node_dir(id);
        let IdentityFiles { ca, certificate, key } = IdentityFiles::in_directory(&dir);
        let listen = self.address(id).parse().map_err(damaged(path))?;
        let ca_key = Some(self.dir.join(CA_KEY));
        let peer = PeerConfig { listen, ca, certificate, key, ca_key };
        let cluster_id = self.cluster.cluster_id.clone();
        Ok(NodeFile {
            node: NodeConfig { id, data_dir: dir.join("data") },
            cluster: ClusterConfig { id: cluster_id, members: members.to_vec() },
            peer,
            http: HttpFile { listen },
        })
    }

    fn check_ports(&self) -> Result<(), LayoutError> {
        for id in self.node_ids() {
            let address = self.address(id);
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
            let taken = |source| LayoutError::PortTaken { port, source };
            TcpListener::bind(&address).map_err(taken)?;
            UdpSocket::bind(&address).map_err(taken)?;
        }
        Ok(())
    }

    /// Whole or not at all, so that a reader never sees half a file.
    fn write(&self, name: &str, text: &str) -> Result<(), LayoutError> {
        let path = self.dir.join(name);
        let part = self.dir.join(format!("{name}.part"));
        fs::write(&part, text).map_err(io_at(&part))?;
        fs::rename(&part, &path).map_err(io_at(&path))
    }
}

fn read_cluster(dir: &Path) -> Result<Cluster, LayoutError> {
    let path = dir.join("cluster.json");
    let text = fs::read_to_string(&path).map_err(io_at(&path))?;
    serde_json::from_str(&text).map_err(damaged(&path))
}

fn check_same(
    dir: &Path,
    flag: &'static str,
    actual: u16,
    wanted: Option<u16>,
) -> Result<(), LayoutError> {
    match wanted {
        Some(wanted) if wanted != actual => {
            Err(LayoutError::Differs { dir: dir.to_owned(), flag, actual, wanted })
        }
        _ => Ok(()),
    }
}

fn check_new(cluster: &Cluster) -> Result<(), LayoutError> {
    if !matches!(cluster.nodes, 1 | 3 | 5 | 7) {
        return Err(LayoutError::Nodes(cluster.nodes));
    }
    let base = cluster.http_port_base;
    if base == 0 || base.checked_add(cluster.nodes - 1).is_none() {
        return Err(LayoutError::NoSuchPort(base));
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, LayoutError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(io_at(&path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| LayoutError::Running(dir.to_owned()))?;
    Ok(file)
}

/// Removes what [`Layout`] makes, and nothing that somebody else put there.
fn clear(dir: &Path) -> Result<(), LayoutError> {
    for entry in fs::read_dir(dir).map_err(io_at(dir))? {
        let path = entry.map_err(io_at(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ours = ["cluster.json", "running.json", "ca.crt", "ca.key"].contains(&name);
        if path.is_dir() && name.starts_with("node-") {
            fs::remove_dir_all(&path).map_err(io_at(&path))?;
        } else if ours {
            fs::remove_file(&path).map_err(io_at(&path))?;
        }
    }
    Ok(())
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain structs of strings and numbers")
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io { path, source }
}

pub(super) fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> LayoutError + use<E> {
    let path = path.to_owned();
    move |error| LayoutError::Damaged { path, reason: error.to_string() }
}
