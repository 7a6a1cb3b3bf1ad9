//! A node that is told to stop: nobody who retries notices.

use std::time::Duration;

use synckairos_tests::{
    cluster::Plan,
    http::Http,
    load::{self, LOST, Load, NOT_CONNECTED},
    sessions::new_id,
    wait::{PATIENCE, throughout},
};

/// Refusals that tell a client to go elsewhere, nothing having happened.
const ELSEWHERE: [&str; 3] = ["NO_LEADER", "SHUTTING_DOWN", NOT_CONNECTED];

#[tokio::test]
async fn the_leader_hands_over_and_nothing_is_lost() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await;
    let mut socket = leader.watch(&new_id()).await;
    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let load = Load::start(&all, 6).await;
    throughout(Duration::from_secs(1), async || {}).await;

    leader.terminate();
    assert_eq!(socket.closed().await, (1001, String::from("Server shutting down")));
    let status = leader.await_end().await;
    assert!(status.success(), "{status}");
    assert!(leader.log().contains("leadership handed over"), "it did not wait to be missed");
    throughout(Duration::from_secs(1), async || {}).await;
    let tallies = load.stop().await;
    eprintln!("longest gap {:?}", load::longest_gap(&tallies));

    let rest: Vec<&Http> =
        cluster.nodes.iter().filter(|node| node.id != leader.id).map(|node| &node.http).collect();
    for tally in &tallies {
        for kind in &tally.refused {
            assert!(ELSEWHERE.contains(&kind.as_str()), "{kind}");
        }
        // A connection that closes at the moment of a request leaves its fate open; an answer
        // never does.
        assert!(tally.unknown.iter().all(|kind| kind == LOST), "{:?}", tally.unknown);
        for http in &rest {
            tally.check(&http.state(&tally.session).await);
        }
    }

    leader.start();
    leader.await_ready().await;
    cluster.await_caught_up(leader, PATIENCE).await;
    for tally in &tallies {
        tally.check(&leader.http.state(&tally.session).await);
    }
}

#[tokio::test]
async fn a_rolling_restart_keeps_everything() {
    let cluster = Plan::of(3).start().await;
    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let load = Load::start(&all, 4).await;
    for node in &cluster.nodes {
        node.terminate();
        assert!(node.await_end().await.success());
        node.start();
        node.await_ready().await;
        cluster.await_caught_up(node, PATIENCE).await;
    }
    let tallies = load.stop().await;
    eprintln!("longest gap {:?}", load::longest_gap(&tallies));
    for tally in &tallies {
        for node in &cluster.nodes {
            tally.check(&node.http.state(&tally.session).await);
        }
    }
}

#[tokio::test]
async fn a_node_alone_stops_at_once() {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    let session = load::running_session(&node.http).await;
    let state = node.http.state(&session).await;
    node.terminate();
    assert!(node.await_end().await.success());
    node.start();
    node.await_ready().await;
    assert_eq!(node.http.state(&session).await, state);
}
