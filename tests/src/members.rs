//! Who belongs to the cluster, changed and asked as an operator does.

use std::{collections::BTreeSet, fs};

use crate::{
    cluster::Cluster,
    command_line::{self, Printed},
    node::{Node, path_text},
    ports,
    sessions::{number, text},
    wait::{PATIENCE, eventually, holds},
};

impl Cluster {
    /// `synckairos cluster VERB ... --data-dir D`, at a node that runs.
    ///
    /// # Panics
    /// Where none runs, or the program cannot be run.
    pub async fn operate(&self, arguments: &[&str]) -> Printed {
        let node = self.nodes.iter().find(|node| node.runs()).expect("a node runs");
        run_cluster(arguments, &["--data-dir", path_text(&node.data_dir())]).await
    }

    /// Lets a new node in and waits until it votes. The id that it got.
    ///
    /// # Panics
    /// Where that does not happen.
    pub async fn grow(&mut self) -> u64 {
        let token = self.operate(&["token", "create", "-o", "json"]).await.expect(0).json();
        self.join(&text(&token["token"])).await
    }

    /// Lets a new node in and waits until it votes in the place of `old`, whose process then ends.
    /// The id that the new one got.
    ///
    /// # Panics
    /// Where that does not happen.
    pub async fn replace(&mut self, old: u64) -> u64 {
        let replace = ["replace", &old.to_string(), "-o", "json"];
        let token = self.operate(&replace).await.expect(0).json();
        let new = self.join(&text(&token["token"])).await;
        self.await_removed(old).await;
        new
    }

    /// Removes a member, whose process then ends.
    ///
    /// # Panics
    /// Where that does not happen.
    pub async fn remove(&mut self, old: u64) {
        let _ = self.operate(&["remove", &old.to_string()]).await.expect(0);
        self.await_removed(old).await;
    }

    /// The voters, once all nodes that run name the same.
    ///
    /// # Panics
    /// Where they do not.
    pub async fn voters(&self) -> BTreeSet<u64> {
        eventually(PATIENCE, "all nodes name the same voters", async || {
            let mut named = BTreeSet::new();
            for node in self.nodes.iter().filter(|node| node.runs()) {
                named.insert(voters_of(node).await?);
            }
            holds(named.len() == 1, || format!("{named:?}"))?;
            Ok(named.into_iter().next().unwrap_or_default())
        })
        .await
    }

    async fn join(&mut self, token: &str) -> u64 {
        let (address, peer) = (ports::free(), ports::free());
        let home = self.scratch(&format!("node-at-{}", address.port()));
        fs::create_dir(&home).expect("the temporary directory is ours");
        let mut node = Node::joined(address, peer, home);
        let (place, http, quic) = (node.data_dir(), address.to_string(), peer.to_string());
        let options = ["--data-dir", path_text(&place), "--peer", &quic, "--http", &http];
        let _ = run_cluster(&["join", token], &options).await.expect(0);
        node.start();
        node.await_ready().await;
        let told = node.http.node().await.expect("a node that is ready answers");
        node.id = number(&told["node_id"]);
        let what = format!("node {} votes", node.id);
        eventually(PATIENCE, &what, async || {
            let voters = voters_of(&node).await?;
            holds(voters.contains(&node.id), || format!("{voters:?}"))
        })
        .await;
        let id = node.id;
        self.nodes.push(node);
        id
    }

    async fn await_removed(&mut self, old: u64) {
        let place = self.nodes.iter().position(|node| node.id == old);
        let node = self.nodes.remove(place.expect("the cluster has this node"));
        let what = format!("node {old} is no member");
        eventually(PATIENCE, &what, async || {
            let voters = voters_of(&self.nodes[0]).await?;
            holds(!voters.contains(&old), || format!("{voters:?}"))
        })
        .await;
        if node.runs() {
            node.terminate();
            node.await_end().await;
        }
    }
}

/// Load goes on while the command runs.
async fn run_cluster(verb: &[&str], options: &[&str]) -> Printed {
    let arguments = [&["cluster"], verb, options].concat();
    let arguments: Vec<String> = arguments.into_iter().map(String::from).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command_line::run(&arguments)
    };
    tokio::task::spawn_blocking(run).await.expect("the program can be run")
}

/// As one node names them.
async fn voters_of(node: &Node) -> Result<BTreeSet<u64>, String> {
    let answer = node.http.try_get("/v1/cluster/nodes").await.map_err(|error| error.to_string())?;
    holds(answer.status == 200, || answer.text.clone())?;
    let members = answer.json();
    let members = members["nodes"].as_array().expect("members are a list");
    Ok(members
        .iter()
        .filter(|member| member["voter"] == true)
        .map(|member| number(&member["id"]))
        .collect())
}
