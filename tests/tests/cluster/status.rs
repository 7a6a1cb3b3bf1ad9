//! `GET /v1/cluster/status` and `synckairos cluster status`: does the cluster serve, and how much
//! more may fail?

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use synckairos_tests::{
    cluster::{Cluster, Plan},
    command_line,
    http::Http,
    node::{Node, path_text},
    sessions::{number, text},
    wait::{PATIENCE, eventually, holds},
};

async fn status_of(http: &Http) -> Value {
    http.get("/v1/cluster/status").await.expect(200).json()
}

/// Waits until the node says so.
async fn await_health(node: &Node, health: &str) -> Value {
    let what = format!("node {} says {health}", node.id);
    eventually(PATIENCE, &what, async || {
        let status = status_of(&node.http).await;
        if status["health"] == health { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

fn url(node: &Node) -> String {
    format!("http://{}", node.address)
}

/// Text for people: its first line, and the exit code.
fn shown(node: &Node, code: i32) -> String {
    let printed = command_line::run(&["cluster", "status", "--url", &url(node)]).expect(code);
    printed.stdout
}

#[tokio::test]
async fn three_nodes_are_healthy_then_degraded_then_without_a_quorum() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await;
    for node in &cluster.nodes {
        let status = await_health(node, "HEALTHY").await;
        assert_eq!(number(&status["asked"]), node.id);
        assert_eq!(status["view"], "cluster");
        assert_eq!(number(&status["tolerates"]), 1);
        assert_eq!(number(&status["leader"]), leader.id);
        assert_eq!(status["cluster_id"], cluster.id.as_str());
        every_node_is_described(&cluster, &status);
    }
    let printed = shown(leader, 0);
    assert!(printed.starts_with("HEALTHY: 3 of 3 voters are well"), "{printed}");
    let config = leader.config_file();
    let arguments = ["cluster", "status", "--config", path_text(&config), "-o", "json"];
    assert_eq!(command_line::run(&arguments).expect(0).json()["health"], "HEALTHY");

    let followers = cluster.followers().await;
    followers[0].kill();
    let degraded = await_health(leader, "DEGRADED").await;
    assert_eq!(number(&degraded["tolerates"]), 0);
    let lost = of(&degraded, followers[0].id);
    assert_eq!((&lost["reached"], &lost["well"]), (&false.into(), &false.into()));
    assert!(lost["term"].is_null(), "{lost}");
    assert!(text(&lost["warnings"][0]).contains("unreachable"));
    let printed = shown(followers[1], 10);
    assert!(printed.starts_with("DEGRADED: 2 of 3"), "{printed}");

    leader.kill();
    let alone = followers[1];
    let lost = await_health(alone, "NO_QUORUM").await;
    assert_eq!(lost["view"], "this_node_only");
    assert!(lost["leader"].is_null(), "{lost}");
    assert!(shown(alone, 11).starts_with("NO QUORUM: "));

    alone.kill();
    let printed = command_line::run(&["cluster", "status", "--url", &url(alone)]).expect(12);
    assert!(printed.stdout.is_empty(), "{printed:?}");
    assert!(printed.stderr.contains("is the node running"), "{printed:?}");

    for node in &cluster.nodes {
        node.start();
    }
    cluster.await_ready().await;
    for node in &cluster.nodes {
        await_health(node, "HEALTHY").await;
    }
}

fn of(status: &Value, id: u64) -> &Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["id"] == id).unwrap()
}

fn every_node_is_described(cluster: &Cluster, status: &Value) {
    assert_eq!(status["nodes"].as_array().unwrap().len(), cluster.nodes.len());
    for node in &cluster.nodes {
        let described = of(status, node.id);
        assert_eq!(described["http"], node.address.to_string());
        assert_eq!(described["peer"], node.peer.to_string());
        assert_eq!((&described["voter"], &described["well"]), (&true.into(), &true.into()));
        let leads = status["leader"] == described["id"];
        assert_eq!(described["role"], if leads { "leader" } else { "follower" });
        assert!(number(&described["last_contact_ms"]) < 1_500, "{described}");
        assert!(number(&described["disk_free_bytes"]) <= number(&described["disk_total_bytes"]));
        assert_eq!(described["disk_room"], "enough");
        let apart = described["cluster_time_ahead_ms"].as_i64().unwrap().unsigned_abs();
        assert!(apart <= number(&described["round_trip_ms"]) + 200, "{described}");
        assert!(300 < number(&described["certificate_days_left"]), "{described}");
        for key in ["term", "applied", "lag_entries", "level_newest", "protocol_newest"] {
            number(&described[key]);
        }
        text(&described["version"]);
    }
}

#[tokio::test]
async fn a_node_alone_is_degraded_and_says_why() {
    let cluster = Plan::of(1).start().await;
    let status = await_health(&cluster.nodes[0], "DEGRADED").await;
    assert!(text(&status["summary"]).contains("a cluster of three"), "{status}");
    assert!(shown(&cluster.nodes[0], 10).contains("nothing may fail"));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_does_not_call_itself_healthy() {
    let cluster = Plan::of(3).with_links().start().await;
    let leader = cluster.leader().await;
    let rest: Vec<u64> =
        cluster.nodes.iter().map(|node| node.id).filter(|id| *id != leader.id).collect();
    cluster.links().isolate(leader.id);
    let alone = await_health(leader, "NO_QUORUM").await;
    assert_eq!(alone["view"], "this_node_only");
    let successor = cluster.leader_of(&rest).await;
    let status = await_health(successor, "DEGRADED").await;
    assert_eq!(number(&status["leader"]), successor.id);
    cluster.links().heal();
    eventually(PATIENCE, "all is well again", async || {
        let status = status_of(&leader.http).await;
        holds(status["health"] == "HEALTHY", || status.to_string())
    })
    .await;
}
