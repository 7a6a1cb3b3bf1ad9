//! A node that has lost touch with the leader does not look like one where nothing happens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use synckairos_tests::{
    cluster::Plan,
    events::Events,
    load,
    node::Node,
    sessions::number,
    socket::{Frame, Socket},
    wait::{PATIENCE, eventually, holds},
};

/// What is said before the end: the instant since when, and the code.
async fn stale(socket: &mut Socket) -> (u64, u16) {
    loop {
        let message = socket.message().await;
        if message["type"] == "STALE" {
            return (number(&message["since_ms"]), socket.closed().await.0);
        }
        // Word of before it was cut off may still be under way.
        assert!(message["type"] == "CONNECTED" || message["type"] == "STATE_UPDATE", "{message}");
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_says_so_and_lets_go() {
    let cluster = Plan::of(3).with_links().start().await;
    let session = load::running_session(cluster.http()).await;
    // The leader of before, then a follower.
    for _ in 0..2 {
        let node = cluster.leader().await;
        let others: Vec<u64> =
            cluster.nodes.iter().map(|other| other.id).filter(|id| *id != node.id).collect();
        let mut socket = node.watch(&session).await;
        let mut events = Events::open(&node.http, &session, "").await;
        let version = number(&events.expect("STATE_SYNC").await.data["version"]);
        let before = number(&node.http.get("/v1/time").await.expect(200).json()["timestamp_ms"]);
        cluster.links().isolate(node.id);
        let (since, code) = stale(&mut socket).await;
        assert_eq!(code, 4013);
        assert!(before.abs_diff(since) < 5_000, "{since} is when, {before} was just before");
        assert!(events.expect("STALE").await.data["since_ms"].is_u64());
        assert_eq!(events.next().await, None);
        // Whoever comes now is told at once.
        let mut late =
            Socket::open(node.address, &format!("/ws?sessionId={session}&since=1")).await;
        assert_eq!(stale(&mut late).await.1, 4013);
        let mut late = Events::open(&node.http, &session, "?since=1").await;
        late.expect("STALE").await;
        assert_eq!(late.next().await, None);

        // The others go on, and nothing is missing there.
        let leader = cluster.leader_of(&others).await;
        let _ = leader.http.command(&session, "switch").await.expect(200);
        let mut socket = Socket::resume(leader.address, &session, version).await;
        assert_eq!(socket.expect("STATE_UPDATE").await["version"], version + 1);
        cluster.links().heal();
        node.await_ready().await;
        in_touch(node, &session, version).await;
    }
}

/// The node serves streams again.
async fn in_touch(node: &Node, session: &str, since: u64) {
    eventually(PATIENCE, "the node is in touch again", async || {
        let path = format!("/ws?sessionId={session}&since={since}");
        let mut socket = Socket::open(node.address, &path).await;
        let first = socket.message().await;
        holds(first["type"] == "CONNECTED", || first.to_string())?;
        let second = socket.message().await;
        holds(second["version"] == since + 1, || second.to_string())
    })
    .await;
}

#[tokio::test]
async fn an_election_cuts_no_stream() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    let mut version = 2;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let rest: Vec<&Node> = cluster.nodes.iter().filter(|node| node.id != leader.id).collect();
        let mut sockets = Vec::new();
        for node in &rest {
            sockets.push(Socket::resume(node.address, &session, version).await);
        }
        leader.kill();
        let ids: Vec<u64> = rest.iter().map(|node| node.id).collect();
        let next = cluster.leader_of(&ids).await;
        let _ = next.http.command(&session, "switch").await.expect(200);
        version += 1;
        for socket in &mut sockets {
            match socket.next_but_pings(PATIENCE).await {
                Some(Frame::Message(message)) => {
                    let told = (message["type"].clone(), message["version"].clone());
                    assert_eq!(told, (Value::from("STATE_UPDATE"), Value::from(version)));
                }
                other => panic!("{other:?}"),
            }
        }
        leader.start();
        leader.await_ready().await;
        cluster.await_caught_up(leader, PATIENCE).await;
    }
}
