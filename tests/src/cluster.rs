//! A cluster of real processes on loopback. At most one at a time in a test process: elections
//! of several would starve each other on a small machine.

use std::{fs, net::SocketAddr, path::PathBuf, thread, time::Duration};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use toml::{Table, Value};

use crate::{
    certificates::{self, Authority},
    http::Http,
    links::Links,
    node::Node,
    ports,
    wait::{PATIENCE, eventually},
};

static TURN: Mutex<()> = Mutex::const_new(());

pub struct Cluster {
    pub id: String,
    pub nodes: Vec<Node>,
    pub authority: Authority,
    links: Option<Links>,
    directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What a cluster is made of. Rate limits are off unless asked for.
pub struct Plan {
    nodes: u64,
    relayed: bool,
    limited: bool,
    open: bool,
    settings: Vec<(&'static str, Value)>,
    environment: Vec<(String, String)>,
}

impl Plan {
    #[must_use]
    pub fn of(nodes: u64) -> Self {
        let (settings, environment) = (Vec::new(), Vec::new());
        Self { nodes, relayed: false, limited: false, open: false, settings, environment }
    }

    /// With links that can be cut.
    #[must_use]
    pub fn with_links(mut self) -> Self {
        self.relayed = true;
        self
    }

    /// With rate limits as they are by default.
    #[must_use]
    pub fn with_limits(mut self) -> Self {
        self.limited = true;
        self
    }

    /// With nodes that can let others in: each has the authority's key.
    #[must_use]
    pub fn open_to_others(mut self) -> Self {
        self.open = true;
        self
    }

    /// A setting on every node: `set("raft.heartbeat_interval_ms", 50)`.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.settings.push((key, value.into()));
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Every file is in place, and no node runs yet.
    ///
    /// # Panics
    /// Where the directory cannot be written.
    pub async fn prepare(self) -> Cluster {
        let turn = TURN.lock().await;
        let directory = tempfile::Builder::new().prefix("synckairos-test-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let id = uuid::Uuid::new_v4().to_string();
        let authority = Authority::new(&id);
        let nodes: Vec<Node> = (1..=self.nodes)
            .map(|node| {
                let home = directory.path().join(format!("node-{node}"));
                fs::create_dir(&home).expect("the temporary directory is ours");
                authority.equip(&home, node, &id);
                Node::new(node, ports::free(), ports::free(), home, self.environment.clone())
            })
            .collect();
        let links = self
            .relayed
            .then(|| Links::new(nodes.iter().map(|node| (node.id, node.peer)).collect()));
        let cluster = Cluster { id, nodes, authority, links, directory, _turn: turn };
        for node in &cluster.nodes {
            let mut config = cluster.config_of(node);
            if !self.limited {
                set(&mut config, "http.rate_limit_general", Value::Integer(0));
                set(&mut config, "http.rate_limit_switch", Value::Integer(0));
            }
            if self.open {
                cluster.authority.entrust(&node.directory);
                let key = node.directory.join("ca.key").display().to_string();
                set(&mut config, "peer.ca_key", Value::from(key));
            }
            for (key, value) in &self.settings {
                set(&mut config, key, value.clone());
            }
            certificates::write(&node.config_file(), &config.to_string());
        }
        cluster
    }

    /// Every node runs and is ready.
    ///
    /// # Panics
    /// Where that does not happen.
    pub async fn start(self) -> Cluster {
        let cluster = self.prepare().await;
        for node in &cluster.nodes {
            node.start();
        }
        cluster.await_ready().await;
        cluster
    }
}

impl Cluster {
    /// Node `id`, from 1.
    ///
    /// # Panics
    /// Where there is none.
    pub fn node(&self, id: u64) -> &Node {
        self.nodes.iter().find(|node| node.id == id).expect("the cluster has this node")
    }

    /// The first node's client.
    pub fn http(&self) -> &Http {
        &self.nodes[0].http
    }

    /// The client of one node after the other: `any(n)` for `n` counting up.
    pub fn any(&self, turn: usize) -> &Http {
        &self.nodes[turn % self.nodes.len()].http
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Files of a test that belong to no node.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// # Panics
    /// Where a node that runs does not get ready.
    pub async fn await_ready(&self) {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            node.await_ready().await;
        }
    }

    /// The node that leads, once all that run agree on it.
    ///
    /// # Panics
    /// Where they do not.
    pub async fn leader(&self) -> &Node {
        let running: Vec<u64> =
            self.nodes.iter().filter(|node| node.runs()).map(|node| node.id).collect();
        self.leader_of(&running).await
    }

    /// The node that leads, once `ids` agree on it and it is one of them.
    ///
    /// # Panics
    /// Where they do not.
    pub async fn leader_of(&self, ids: &[u64]) -> &Node {
        let id = eventually(PATIENCE, "the nodes agree on a leader", async || {
            let mut leaders = Vec::new();
            for &id in ids {
                leaders.push(self.node(id).http.node().await?["leader_id"].as_u64());
            }
            match leaders[0] {
                Some(leader) if leaders.iter().all(|named| *named == Some(leader)) => {
                    if !ids.contains(&leader) {
                        return Err(format!("all name node {leader}, which is away"));
                    }
                    let leading = self.node(leader).http.node().await?["role"] == "leader";
                    if leading { Ok(leader) } else { Err(String::from("it does not lead yet")) }
                }
                _ => Err(format!("{leaders:?}")),
            }
        })
        .await;
        self.node(id)
    }

    /// Nodes that run and do not lead.
    ///
    /// # Panics
    /// Where there is no leader.
    pub async fn followers(&self) -> Vec<&Node> {
        let leader = self.leader().await.id;
        self.nodes.iter().filter(|node| node.runs() && node.id != leader).collect()
    }

    /// # Panics
    /// Where the plan has no links.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("the plan asked for links")
    }

    /// Waits until `node` has applied as much as every node had when this was called.
    ///
    /// # Panics
    /// Where it does not catch up.
    pub async fn await_caught_up(&self, node: &Node, within: Duration) {
        let mut target = 0;
        for other in self.nodes.iter().filter(|other| other.runs() && other.id != node.id) {
            let status = other.http.node().await.expect("the others answer");
            target = target.max(status["applied"].as_u64().unwrap_or(0));
        }
        let what = format!("node {} has applied {target}", node.id);
        eventually(within, &what, async || {
            let applied = node.http.node().await?["applied"].as_u64().unwrap_or(0);
            if target <= applied { Ok(()) } else { Err(format!("{applied}")) }
        })
        .await;
    }

    /// Shows the end of every node's log.
    pub fn show_logs(&self) {
        for node in &self.nodes {
            node.show_log();
        }
    }

    /// A node's file as the plan has it before its settings.
    pub fn config_of(&self, node: &Node) -> Table {
        let mut config = Table::new();
        let members: Vec<Value> = self.nodes.iter().map(|member| self.member(member)).collect();
        let home = |name: &str| Value::from(node.directory.join(name).display().to_string());
        let id = i64::try_from(node.id).expect("ids are small");
        set(&mut config, "node.id", Value::Integer(id));
        set(&mut config, "node.data_dir", home("data"));
        set(&mut config, "cluster.id", Value::from(self.id.clone()));
        set(&mut config, "cluster.members", Value::Array(members));
        set(&mut config, "peer.listen", Value::from(node.peer.to_string()));
        set(&mut config, "peer.ca", home("ca.crt"));
        set(&mut config, "peer.certificate", home("node.crt"));
        set(&mut config, "peer.key", home("node.key"));
        set(&mut config, "http.listen", Value::from(node.address.to_string()));
        config
    }

    fn member(&self, node: &Node) -> Value {
        let peer = self.links.as_ref().map_or(node.peer, |links| links.address(node.id));
        let id = i64::try_from(node.id).expect("ids are small");
        let mut member = Table::new();
        member.insert(String::from("id"), Value::Integer(id));
        member.insert(String::from("peer"), Value::from(peer.to_string()));
        member.insert(String::from("http"), Value::from(node.address.to_string()));
        Value::Table(member)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
    }
}

/// Sets `section.key`.
///
/// # Panics
/// Where the key has no section.
pub fn set(config: &mut Table, key: &str, value: Value) {
    let (section, name) = key.split_once('.').expect("settings are in sections");
    let section = config.entry(section).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().expect("a section is a table").insert(name.to_owned(), value);
}
