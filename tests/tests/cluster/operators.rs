//! What operators type on a node's machine: who leads, and who goes.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use synckairos_tests::{
    cluster::{Cluster, Plan},
    command_line::{self, Printed},
    http::Http,
    load::Load,
    node::{Node, path_text},
    wait::{PATIENCE, eventually},
};

/// EX_CONFIG: the node does not belong to the cluster any more.
const EXIT_REMOVED: i32 = 78;

/// `synckairos cluster ...` on the machine of `node`.
fn cluster_command(node: &Node, words: &[&str]) -> Printed {
    let data_dir = node.data_dir();
    let place = ["--data-dir", path_text(&data_dir), "-o", "json"];
    command_line::run(&[&["cluster"], words, &place].concat())
}

fn id(node: &Node) -> String {
    node.id.to_string()
}

async fn voters(node: &Node) -> Vec<u64> {
    let status = node.http.get("/v1/cluster/status").await.expect(200).json();
    let nodes = status["nodes"].as_array().expect("a list").clone();
    let voters = nodes.iter().filter(|node| node["voter"] == true);
    voters.map(|node| node["id"].as_u64().expect("a number")).collect()
}

async fn await_leader(cluster: &Cluster, is_it: impl Fn(u64) -> bool) -> u64 {
    eventually(PATIENCE, "the right node leads", async || {
        let leader = cluster.leader().await.id;
        if is_it(leader) { Ok(leader) } else { Err(format!("node {leader}")) }
    })
    .await
}

#[tokio::test]
async fn the_leadership_goes_where_an_operator_wants_it() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await.id;
    let wanted = cluster.nodes.iter().find(|node| node.id != leader).expect("a follower");
    // From any node, and a second time, when there is nothing left to do.
    for node in &cluster.nodes {
        let printed = cluster_command(node, &["transfer-leader", &id(wanted)]).expect(0);
        assert_eq!(printed.json(), json!({"leader": wanted.id}));
        await_leader(&cluster, |leader| leader == wanted.id).await;
    }
    let refused = cluster_command(wanted, &["transfer-leader", "9"]).expect(1);
    assert!(refused.stderr.contains("node 9 is no voter"), "{}", refused.stderr);
    assert!(refused.stderr.contains("1, 2, 3"), "{}", refused.stderr);

    let printed = cluster_command(cluster.node(1), &["step-down"]).expect(0).json();
    let next = await_leader(&cluster, |leader| leader != wanted.id).await;
    assert_eq!(printed, json!({"leader": next}));
}

#[tokio::test]
async fn the_operators_door_is_not_the_clients() {
    let cluster = Plan::of(1).start().await;
    let node = cluster.node(1);
    let socket = node.data_dir().join("admin.sock");
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let body = json!({"ttl_ms": 1_000});
    for path in ["/v1/cluster/tokens", "/v1/cluster/leader", "/v1/backup"] {
        let answer = node.http.post_json(path, &body).await.expect(404);
        assert_eq!(answer.kind(), "NOT_FOUND", "{path}");
    }
    let status = cluster_command(node, &["status"]);
    assert_eq!((status.code, &status.json()["asked"]), (Some(10), &json!(1)));

    // Left behind by a process that was killed, it is in nobody's way.
    node.kill();
    let silent = cluster_command(node, &["step-down"]).expect(1);
    assert!(silent.stderr.contains("is the node running"), "{}", silent.stderr);
    node.start();
    node.await_ready().await;
    let alone = cluster_command(node, &["step-down"]).expect(1);
    assert!(alone.stderr.contains("no other voter can lead"), "{}", alone.stderr);
    let last = cluster_command(node, &["remove", "1"]).expect(1);
    assert!(last.stderr.contains("node 1 is the only voter"), "{}", last.stderr);
}

#[tokio::test]
async fn who_is_removed_goes_and_stays_away() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await;
    let others: Vec<&Node> = cluster.nodes.iter().filter(|node| node.id != leader.id).collect();
    let refused = cluster_command(others[0], &["remove", &id(leader)]).expect(1);
    for word in ["would leave 2 voters", "2 answer", "a majority of 2 is 2", "--accept-no-spare"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    let unknown = cluster_command(others[0], &["remove", "7"]).expect(1);
    assert!(unknown.stderr.contains("node 7 is no member"), "{}", unknown.stderr);

    // The leader itself, asked for through another node, under load.
    let stays: Vec<&Http> = others.iter().map(|node| &node.http).collect();
    let load = Load::start(&stays, 3).await;
    let words = ["remove", &id(leader), "--accept-no-spare"];
    let left: Vec<u64> = others.iter().map(|node| node.id).collect();
    assert_eq!(cluster_command(others[0], &words).expect(0).json(), json!({"voters": left}));
    // It is done already.
    assert_eq!(cluster_command(others[1], &words).expect(0).json(), json!({"voters": left}));
    assert_eq!(leader.await_end().await.code(), Some(EXIT_REMOVED));
    assert!(leader.last_log_line().contains("removed from the cluster"));
    for node in &others {
        eventually(PATIENCE, "the others are two", async || {
            let found = voters(node).await;
            if found == left { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    let tallies = load.stop().await;
    for tally in &tallies {
        tally.check(&others[1].http.state(&tally.session).await);
    }

    // Who comes back is told again.
    leader.start();
    assert_eq!(leader.await_end().await.code(), Some(EXIT_REMOVED));
}
