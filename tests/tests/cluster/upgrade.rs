//! From the first release to this one, node by node, while people play.
//!
//! `make test` builds the first release from the repository's history; without history there is
//! nothing to upgrade from, and that is said.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use synckairos_tests::{
    binary,
    cluster::{Cluster, Plan},
    command_line::{self, Printed},
    http::Http,
    load::{Load, running_session},
    node::{Node, path_text},
    sessions,
    wait::{PATIENCE, eventually, throughout},
};

/// What an old node says when it meets what only newer ones understand.
const TOO_NEW: &str = "newer";

#[tokio::test]
async fn a_cluster_is_upgraded_node_by_node_and_back_until_it_is_final() {
    let Some(old) = first_release() else { return };
    let cluster = Plan::of(3).prepare().await;
    for node in &cluster.nodes {
        node.run_with(Some(old.clone()));
        node.start();
    }
    cluster.await_ready().await;
    let kept = running_session(cluster.http()).await;
    let _ = cluster.http().command(&kept, "switch").await.expect(200);

    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let load = Load::start(&all, 3).await;
    let [first, second, third] = &cluster.nodes[..] else { panic!("three nodes") };
    replace_binary(&cluster, first, None).await;
    serves_everywhere(&cluster).await;
    // A leader of either version, with followers of both.
    lead(&cluster, first).await;
    serves_everywhere(&cluster).await;
    lead(&cluster, second).await;
    serves_everywhere(&cluster).await;
    replace_binary(&cluster, second, None).await;
    // Whoever has doubts goes back.
    replace_binary(&cluster, first, Some(old.clone())).await;
    serves_everywhere(&cluster).await;
    assert!(finalize(second).is_err(), "not every node understands the new level");
    replace_binary(&cluster, first, None).await;
    replace_binary(&cluster, third, None).await;
    serves_everywhere(&cluster).await;

    let upgrade = upgrade_status(third);
    assert_eq!((&upgrade["level"], &upgrade["possible"]), (&json!(1), &json!(2)), "{upgrade}");
    assert_eq!(refused_batch(&cluster, &kept).await, "FORMAT_LEVEL_TOO_LOW");
    let removal = cluster_command(third, &["remove", "1", "--accept-no-spare"]);
    assert!(removal.stderr.contains("format level 2"), "{removal:?}");
    assert_eq!(finalize(third).unwrap(), json!({"before": 1, "level": 2}));
    assert_eq!(finalize(first).unwrap(), json!({"before": 2, "level": 2}));
    let tallies = load.stop().await;
    for tally in &tallies {
        for node in &cluster.nodes {
            tally.check(&node.http.state(&tally.session).await);
        }
    }
    let batch = json!({"commands": [{"action": "switch", "session_id": kept}]});
    let _ = third.http.post_json("/v1/batch", &batch).await.expect(200);
    let cycles = sessions::cycles(&third.http.state(&kept).await);
    assert_eq!(cycles, 2, "one switch of the first release, one of this one");

    // There is no way back now, and the old node says so instead of guessing.
    second.terminate();
    assert!(second.await_end().await.success());
    second.run_with(Some(old));
    second.start();
    assert!(!second.await_end().await.success());
    assert!(second.last_log_line().contains(TOO_NEW), "{}", second.last_log_line());
    second.run_with(None);
    second.start();
    second.await_ready().await;
    cluster.await_caught_up(second, PATIENCE).await;
}

fn first_release() -> Option<PathBuf> {
    let path = binary::path().parent().and_then(|debug| debug.parent())?.join("first-release");
    let path = path.join("synckairos");
    if !path.exists() {
        eprintln!("{} does not exist: `make test` builds it from the history", path.display());
        return None;
    }
    Some(path)
}

/// Stops the node in good order and starts it again as another version.
async fn replace_binary(cluster: &Cluster, node: &Node, binary: Option<PathBuf>) {
    node.terminate();
    assert!(node.await_end().await.success());
    node.run_with(binary);
    node.start();
    node.await_ready().await;
    cluster.await_caught_up(node, PATIENCE).await;
}

/// Has `wanted` lead, by stopping whoever else does.
async fn lead(cluster: &Cluster, wanted: &Node) {
    eventually(PATIENCE * 4, "the wanted node leads", async || {
        let leader = cluster.leader().await;
        if leader.id == wanted.id {
            return Ok(());
        }
        leader.terminate();
        assert!(leader.await_end().await.success());
        let _ = cluster.leader().await;
        leader.start();
        leader.await_ready().await;
        Err(format!("node {} led", leader.id))
    })
    .await;
}

/// Writes on each node are read on all, at once.
async fn serves_everywhere(cluster: &Cluster) {
    for node in &cluster.nodes {
        let session = running_session(&node.http).await;
        let _ = node.http.command(&session, "switch").await.expect(200);
        for other in &cluster.nodes {
            let state = other.http.state(&session).await;
            assert_eq!(state["version"], 3, "written on {}, read on {}", node.id, other.id);
        }
    }
    throughout(Duration::from_millis(500), async || {}).await;
}

async fn refused_batch(cluster: &Cluster, session: &str) -> String {
    let batch = json!({"commands": [{"action": "switch", "session_id": session}]});
    cluster.http().post_json("/v1/batch", &batch).await.expect(409).kind()
}

fn upgrade_status(node: &Node) -> Value {
    cluster_command(node, &["upgrade", "status"]).expect(0).json()
}

fn finalize(node: &Node) -> Result<Value, String> {
    let printed = cluster_command(node, &["upgrade", "finalize"]);
    if printed.code == Some(0) { Ok(printed.json()) } else { Err(printed.stderr) }
}

fn cluster_command(node: &Node, words: &[&str]) -> Printed {
    let data_dir = node.data_dir();
    let place = ["--data-dir", path_text(&data_dir), "-o", "json"];
    command_line::run(&[&["cluster"], words, &place].concat())
}
