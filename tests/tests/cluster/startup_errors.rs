//! What keeps a node from starting is told in one clear last line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, net::TcpListener, net::UdpSocket};

use synckairos_protocol::codec;
use synckairos_tests::{
    certificates::{self, Authority},
    cluster::{Cluster, Plan, set},
    load,
    node::{Node, last_line},
    process::{self, Process},
    wait::{PATIENCE, eventually, holds, throughout},
};
use toml::{Table, Value};

/// The node ends with an error, and its last line has all of these words.
async fn refuses(node: &Node, words: &[&str]) {
    refuses_with(1, node, words).await;
}

async fn refuses_with(code: i32, node: &Node, words: &[&str]) {
    node.start();
    let status = node.await_end().await;
    let line = node.last_log_line();
    assert_eq!(status.code(), Some(code), "{status}: {line}");
    assert!(line.starts_with("synckairos: "), "{line}");
    assert!(!line.contains("panicked"), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} in {line:?}");
    }
}

fn rewrite(node: &Node, change: impl FnOnce(&mut Table)) {
    let text = fs::read_to_string(node.config_file()).unwrap();
    let mut config: Table = toml::from_str(&text).unwrap();
    change(&mut config);
    certificates::write(&node.config_file(), &config.to_string());
}

fn file(node: &Node, name: &str) -> String {
    node.directory.join(name).display().to_string()
}

#[tokio::test]
async fn ports_that_are_taken() {
    let cluster = Plan::of(1).prepare().await;
    let node = &cluster.nodes[0];
    let tcp = TcpListener::bind(node.address).unwrap();
    refuses(node, &[&node.address.to_string(), "http.listen"]).await;
    drop(tcp);
    let udp = UdpSocket::bind(node.peer).unwrap();
    refuses(node, &[&node.peer.to_string(), "taken"]).await;
    drop(udp);
    node.start();
    node.await_ready().await;
}

#[tokio::test]
async fn certificates_that_are_not_this_nodes() {
    let cluster = Plan::of(3).prepare().await;
    let node = &cluster.nodes[0];
    let (certificate, key) = (file(node, "node.crt"), file(node, "node.key"));
    let home = &node.directory;
    let equip = |id| cluster.authority.equip(home, id, &cluster.id);

    fs::remove_file(&certificate).unwrap();
    refuses(node, &[&certificate, "does not exist"]).await;
    certificates::write(home.join("node.crt").as_path(), "no PEM at all");
    refuses(node, &[&certificate, "PEM"]).await;
    fs::remove_file(&certificate).unwrap();
    fs::create_dir(&certificate).unwrap();
    refuses(node, &[&certificate, "cannot read"]).await;
    fs::remove_dir(&certificate).unwrap();

    equip(1);
    let other = cluster.authority.issue(1, &cluster.id);
    certificates::write_private(home.join("node.key").as_path(), &other.key);
    refuses(node, &[&key, &certificate, "not the private key"]).await;

    equip(2);
    refuses(node, &[&certificate, "node 2", "node 1"]).await;
    let elsewhere = uuid::Uuid::new_v4().to_string();
    cluster.authority.equip(home, 1, &elsewhere);
    refuses(node, &[&certificate, &elsewhere, &cluster.id]).await;

    equip(1);
    let stranger = Authority::new(&cluster.id);
    certificates::write(home.join("ca.crt").as_path(), stranger.certificate_pem());
    refuses(node, &[&certificate, "ca.crt", "not issued"]).await;
    fs::remove_file(home.join("ca.crt")).unwrap();
    refuses(node, &["ca.crt", "does not exist"]).await;
}

#[tokio::test]
async fn configurations_that_cannot_work() {
    let cluster = Plan::of(3).prepare().await;
    let node = &cluster.nodes[0];
    let good = fs::read_to_string(node.config_file()).unwrap();
    type Change = fn(&mut Table);
    let table: [(Change, &[&str]); 8] = [
        (|config| set(config, "http.lisen", Value::from("x")), &["`http.lisen`", "`listen`"]),
        (
            |config| drop(config.insert(String::from("htpp"), Value::Table(Table::new()))),
            &["`htpp`", "`http`"],
        ),
        (|config| members(config)[1]["id"] = Value::from(1), &["cluster.members", "node 1 twice"]),
        (|config| drop(members(config).remove(0)), &["cluster.members", "does not name node 1"]),
        (|config| drop(members(config).pop()), &["2 nodes", "1, 3, 5 or 7"]),
        (|config| set(config, "cluster.id", Value::from("mine")), &["cluster.id", "mine", "UUID"]),
        (|config| set(config, "node.id", Value::from("one")), &["node.id"]),
        (
            |config| set(config, "raft.election_timeout_min_ms", Value::from(100)),
            &["raft.election_timeout_min_ms", "heartbeat"],
        ),
    ];
    for (change, words) in table {
        rewrite(node, change);
        refuses(node, words).await;
        certificates::write(&node.config_file(), &good);
    }
    certificates::write(&node.config_file(), "[node\nid = 1");
    refuses(node, &["config.toml"]).await;
    fs::remove_file(node.config_file()).unwrap();
    refuses(node, &["config.toml", "cannot read"]).await;
    assert!(!node.data_dir().exists(), "nothing was touched");
}

fn members(config: &mut Table) -> &mut Vec<Value> {
    config["cluster"]["members"].as_array_mut().unwrap()
}

/// A node alone that has data, and is stopped.
async fn with_data() -> Cluster {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    load::running_session(&node.http).await;
    node.terminate();
    assert!(node.await_end().await.success());
    cluster
}

#[tokio::test]
async fn data_that_is_not_this_nodes() {
    let cluster = with_data().await;
    let node = &cluster.nodes[0];
    let good = fs::read_to_string(node.config_file()).unwrap();
    let data = node.data_dir().display().to_string();

    rewrite(node, |config| {
        set(config, "node.id", Value::from(2));
        members(config)[0]["id"] = Value::from(2);
    });
    cluster.authority.equip(&node.directory, 2, &cluster.id);
    refuses(node, &[&data, "belongs to node 1", "configured as 2"]).await;

    certificates::write(&node.config_file(), &good);
    let elsewhere = uuid::Uuid::new_v4().to_string();
    rewrite(node, |config| set(config, "cluster.id", Value::from(elsewhere.clone())));
    cluster.authority.equip(&node.directory, 1, &elsewhere);
    refuses(node, &[&data, &cluster.id, &elsewhere]).await;

    certificates::write(&node.config_file(), &good);
    cluster.authority.equip(&node.directory, 1, &cluster.id);
    let identity = node.data_dir().join("IDENTITY");
    let kept = fs::read(&identity).unwrap();
    let newer = codec::encode(codec::Kind::NodeIdentity, 2, &(&cluster.id, 1_u64)).unwrap();
    fs::write(&identity, newer).unwrap();
    refuses(node, &["newer version", "format 2"]).await;

    fs::write(&identity, &kept[..kept.len() / 2]).unwrap();
    refuses_with(65, node, &["identity", "do not repair it", "cluster replace 1"]).await;
    fs::write(&identity, kept).unwrap();
    node.start();
    node.await_ready().await;
}

#[tokio::test]
async fn data_that_another_process_uses() {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    let mut config: Table =
        toml::from_str(&fs::read_to_string(node.config_file()).unwrap()).unwrap();
    let free = |port: std::net::SocketAddr| Value::from(port.to_string());
    set(&mut config, "http.listen", free(synckairos_tests::ports::free()));
    set(&mut config, "peer.listen", free(synckairos_tests::ports::free()));
    let (second, log) = (cluster.scratch("second.toml"), cluster.scratch("second.log"));
    certificates::write(&second, &config.to_string());
    let arguments = ["serve", "--config", second.to_str().unwrap()];
    let status = Process::start(process::command(arguments, &log)).await_end(PATIENCE).await;
    let line = last_line(&fs::read_to_string(&log).unwrap());
    assert_eq!(status.code(), Some(1), "{line}");
    assert!(line.contains("in use by another process"), "{line}");
    node.await_ready().await;
}

#[tokio::test]
async fn a_stranger_is_refused_and_the_cluster_goes_on() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    let stranger = cluster.followers().await[0];
    stranger.kill();
    fs::remove_dir_all(stranger.data_dir()).unwrap();
    Authority::new(&cluster.id).equip(&stranger.directory, stranger.id, &cluster.id);
    stranger.start();
    let rest: Vec<&Node> = cluster.nodes.iter().filter(|node| node.id != stranger.id).collect();
    eventually(PATIENCE, "somebody tells of the stranger", async || {
        let told = rest.iter().any(|node| node.log().contains("refused a connection"))
            || stranger.log().contains("refused a connection");
        holds(told, || String::from("nobody does"))
    })
    .await;
    throughout(std::time::Duration::from_secs(2), async || {
        for node in &rest {
            let _ = node.http.command(&session, "switch").await.expect(200);
        }
        let _ = stranger.http.get("/ready").await.expect(503);
    })
    .await;
    let known = stranger.http.node().await.unwrap();
    assert_eq!(known["applied"].as_u64().unwrap_or(0), 0, "it learns nothing: {known}");
}
