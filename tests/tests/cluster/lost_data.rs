//! A node that lost all of its data does not begin anew as if it had never had any.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, time::Duration};

use synckairos_tests::{
    cluster::{Cluster, Plan},
    load,
    node::Node,
    wait::{PATIENCE, eventually, holds, throughout},
};

/// EX_DATAERR: the node must be replaced.
const DATA_DAMAGED: i32 = 65;
/// Some elections long.
const A_WHILE: Duration = Duration::from_secs(3);

/// A new disk in place of the old one.
fn wipe(node: &Node) {
    fs::remove_dir_all(node.data_dir()).unwrap();
}

async fn ends_for_good(node: &Node) {
    let status = node.await_end().await;
    let line = node.last_log_line();
    assert_eq!(status.code(), Some(DATA_DAMAGED), "{line}");
    assert!(line.contains("replace the node"), "{line}");
}

async fn nobody_leads(nodes: &[&Node]) {
    throughout(A_WHILE, async || {
        for node in nodes {
            if let Ok(told) = node.http.node().await {
                assert!(told["role"] != "leader", "node {} leads: {told}", node.id);
            }
        }
    })
    .await;
}

/// What two of three nodes acknowledged is lost where one of the two has forgotten it and votes for
/// the third.
#[tokio::test]
async fn a_founder_that_lost_everything_has_no_vote() {
    let cluster = Plan::of(3).start().await;
    let (first, second, third) = (cluster.node(1), cluster.node(2), cluster.node(3));
    third.kill();
    cluster.leader().await;
    let session = load::running_session(&first.http).await;
    let before = first.http.state(&session).await;
    second.kill();
    first.kill();
    wipe(second);
    second.start();
    third.start();
    nobody_leads(&[second, third]).await;
    first.start();
    ends_for_good(second).await;
    first.await_ready().await;
    third.await_ready().await;
    assert_eq!(third.http.state(&session).await, before);
}

/// The one that founded the cluster would found it a second time.
#[tokio::test]
async fn the_first_founder_does_not_found_its_cluster_twice() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    let first = cluster.node(1);
    first.kill();
    wipe(first);
    first.start();
    ends_for_good(first).await;
    cluster.leader().await;
    assert!(cluster.node(2).http.session(&session).await.status == 200);
}

#[tokio::test]
async fn a_cluster_is_founded_once_all_of_its_nodes_answer() {
    let cluster = Plan::of(3).prepare().await;
    let (first, second, third) = (cluster.node(1), cluster.node(2), cluster.node(3));
    first.start();
    second.start();
    eventually(PATIENCE, "node 1 says whom it waits for", async || {
        holds(first.log().contains("founded when all of its nodes answer"), || first.log())
    })
    .await;
    nobody_leads(&[first, second]).await;
    // Whoever was there before, and had nothing, is still welcome.
    second.kill();
    second.start();
    third.start();
    cluster.await_ready().await;
    cluster.leader().await;
}

#[tokio::test]
async fn a_node_that_joined_and_lost_its_data_has_no_vote() {
    let mut cluster: Cluster = Plan::of(3).open_to_others().start().await;
    let id = cluster.grow().await;
    let node = cluster.node(id);
    node.kill();
    for entry in fs::read_dir(node.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        // Its configuration and its certificates lie there too.
        if path.is_dir() && !path.ends_with("tls") {
            fs::remove_dir_all(path).unwrap();
        } else if !path.ends_with("tls") && !path.ends_with("node.toml") {
            fs::remove_file(path).unwrap();
        }
    }
    node.start();
    ends_for_good(node).await;
    wipe(node);
    node.start();
    assert_eq!(node.await_end().await.code(), Some(1));
    let line = node.last_log_line();
    assert!(line.contains("node.toml") && line.contains("cluster replace"), "{line}");
}
