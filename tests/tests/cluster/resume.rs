//! A client that was away goes on where it was: on any node, whatever happened to the nodes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use synckairos_tests::{
    cluster::{Cluster, Plan},
    load,
    node::Node,
    sessions::{content, new_id, new_session, number, session_id, text},
    shared::Meeting,
    socket::Socket,
    wait::PATIENCE,
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3).set("sessions.resume_window", WINDOW));

/// Updates of each session that every node keeps.
const WINDOW: i64 = 12;

/// Switches until the session is at `version`.
async fn switch_up_to(cluster: &Cluster, session: &str, version: u64) {
    for turn in 0_usize.. {
        let at = number(&cluster.any(turn).state(session).await["version"]);
        if version <= at {
            return;
        }
        let _ = cluster.any(turn).command(session, "switch").await.expect(200);
    }
}

/// The next updates, which must be these versions; without what depends on the node.
async fn updates(socket: &mut Socket, versions: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    let mut told = Vec::new();
    for version in versions {
        let update = socket.expect("STATE_UPDATE").await;
        assert_eq!(update["version"], version, "{update}");
        told.push(content(&update));
    }
    told
}

/// The state instead of what is missing; its version.
async fn not_resumed(socket: &mut Socket) -> u64 {
    let sync = socket.expect("STATE_SYNC").await;
    assert_eq!(sync["resumed"], false, "{sync}");
    assert!(sync["revision"].is_u64(), "{sync}");
    assert_eq!(sync["state"]["version"], sync["version"]);
    number(&sync["version"])
}

#[tokio::test]
async fn every_node_replays_the_same_and_goes_on_live() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[3_600_000, 3_600_000]);
    let session = session_id(&body);
    let mut live = cluster.nodes[0].watch(&session).await;
    let _ = cluster.any(1).create(&body).await.expect(201);
    let _ = cluster.any(2).command(&session, "start").await.expect(200);
    switch_up_to(&cluster, &session, 8).await;
    let told = updates(&mut live, 1..=8).await;
    let mut sockets = Vec::new();
    for node in &cluster.nodes {
        for since in 0..=8_u64 {
            let mut socket = Socket::resume(node.address, &session, since).await;
            let replayed = updates(&mut socket, since + 1..=8).await;
            let after = usize::try_from(since).unwrap();
            assert_eq!(replayed, told[after..], "node {} since {since}", node.id);
            socket.expect_silence().await;
            sockets.push(socket);
        }
        let revision = &told[4]["revision"];
        let path = format!("/ws?sessionId={session}&since=5&revision={revision}&snapshot=true");
        let mut socket = Socket::open(node.address, &path).await;
        socket.expect("CONNECTED").await;
        assert_eq!(updates(&mut socket, 6..=8).await, told[5..]);
        let sync = socket.expect("STATE_SYNC").await;
        assert_eq!((&sync["resumed"], &sync["revision"]), (&json!(true), &told[7]["revision"]));
        sockets.push(socket);
    }
    let _ = cluster.any(0).command(&session, "switch").await.expect(200);
    let ninth = updates(&mut live, 9..=9).await;
    for socket in &mut sockets {
        assert_eq!(updates(socket, 9..=9).await, ninth);
    }
}

#[tokio::test]
async fn what_is_not_kept_is_said_not_to_be() {
    let cluster = CLUSTER.join().await;
    let session = load::running_session(cluster.http()).await;
    let window = u64::try_from(WINDOW).unwrap();
    let last = 2 + 2 * window;
    switch_up_to(&cluster, &session, last).await;
    for node in &cluster.nodes {
        let mut kept = Socket::resume(node.address, &session, last - 3).await;
        updates(&mut kept, last - 2..=last).await;
        for since in [0, 1, last - window - 1, last + 1, 1_000_000] {
            let mut socket = Socket::resume(node.address, &session, since).await;
            assert_eq!(not_resumed(&mut socket).await, last, "node {} {since}", node.id);
            socket.expect_silence().await;
        }
        // The right version of another session of this id, as far as the client can tell.
        let path = format!("/ws?sessionId={session}&since={last}&revision=1");
        let mut socket = Socket::open(node.address, &path).await;
        socket.expect("CONNECTED").await;
        assert_eq!(not_resumed(&mut socket).await, last);
    }
}

#[tokio::test]
async fn a_session_that_went_meanwhile_is_told_to_be_gone() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let session = session_id(&body);
    let _ = cluster.any(0).create(&body).await.expect(201);
    let _ = cluster.any(0).command(&session, "start").await.expect(200);
    let mut seen = Socket::resume(cluster.nodes[0].address, &session, 0).await;
    let revision = updates(&mut seen, 1..=2).await[1]["revision"].clone();
    let _ = cluster.any(1).delete(&format!("/v1/sessions/{session}")).await.expect(204);
    for node in &cluster.nodes {
        let mut socket = Socket::resume(node.address, &session, 2).await;
        let gone = socket.expect("SESSION_DELETED").await;
        assert_eq!(gone["sessionId"], session);
        assert_eq!(socket.closed().await, (1000, String::from("Session deleted")));
        // Who has seen nothing yet waits for it.
        let mut early = Socket::resume(node.address, &session, 0).await;
        early.expect_silence().await;
    }
    let _ = cluster.any(2).create(&body).await.expect(201);
    let _ = cluster.any(2).command(&session, "start").await.expect(200);
    let path = format!("/ws?sessionId={session}&since=2&revision={revision}");
    for node in &cluster.nodes {
        let mut socket = Socket::open(node.address, &path).await;
        socket.expect("CONNECTED").await;
        assert_eq!(not_resumed(&mut socket).await, 2, "another session of the same id");
    }
}

#[tokio::test]
async fn one_socket_watches_many_sessions() {
    let cluster = CLUSTER.join().await;
    let node = &cluster.nodes[1];
    let mut sessions = Vec::new();
    let mut socket = node.watch(&new_id()).await;
    for _ in 0..20 {
        let session = load::running_session(cluster.http()).await;
        let request = json!({"type": "SUBSCRIBE", "sessionId": session, "since": 0});
        socket.send(&request.to_string()).await;
        assert_eq!(socket.expect("SUBSCRIBED").await["sessionId"], session);
        updates(&mut socket, 1..=2).await;
        sessions.push(session);
    }
    for session in &sessions {
        let _ = cluster.any(2).command(session, "switch").await.expect(200);
        let update = socket.expect("STATE_UPDATE").await;
        assert_eq!((&update["sessionId"], &update["version"]), (&json!(session), &json!(3)));
    }
    let (gone, left) = (&sessions[0], &sessions[1]);
    let _ = cluster.any(0).delete(&format!("/v1/sessions/{gone}")).await.expect(204);
    assert_eq!(text(&socket.expect("SESSION_DELETED").await["sessionId"]), *gone);
    socket.send(&json!({"type": "UNSUBSCRIBE", "sessionId": left}).to_string()).await;
    assert_eq!(text(&socket.expect("UNSUBSCRIBED").await["sessionId"]), *left);
    let _ = cluster.any(0).command(left, "switch").await.expect(200);
    let _ = cluster.any(0).command(&sessions[2], "switch").await.expect(200);
    assert_eq!(text(&socket.expect("STATE_UPDATE").await["sessionId"]), sessions[2]);
    let resume = json!({"type": "RESUME", "sessionId": left, "version": 3});
    socket.send(&resume.to_string()).await;
    let update = socket.expect("STATE_UPDATE").await;
    assert_eq!((text(&update["sessionId"]), number(&update["version"])), (left.clone(), 4));
}

/// Every version after `since` on `node`, then a live one.
async fn resumes_all(cluster: &Cluster, node: &Node, session: &str, since: u64) {
    let last = number(&cluster.http().state(session).await["version"]);
    let mut socket = Socket::resume(node.address, session, since).await;
    updates(&mut socket, since + 1..=last).await;
    let _ = cluster.any(0).command(session, "switch").await.expect(200);
    updates(&mut socket, last + 1..=last + 1).await;
}

#[tokio::test]
async fn a_node_that_was_killed_still_knows_what_it_told() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    switch_up_to(&cluster, &session, 30).await;
    for node in &cluster.nodes {
        node.kill();
        node.start();
        node.await_ready().await;
        cluster.leader().await;
        resumes_all(&cluster, node, &session, 1).await;
    }
    for node in &cluster.nodes {
        node.kill();
    }
    for node in &cluster.nodes {
        node.start();
    }
    cluster.await_ready().await;
    for node in &cluster.nodes {
        resumes_all(&cluster, node, &session, 0).await;
    }
}

#[tokio::test]
async fn a_node_caught_up_by_snapshot_resumes_or_says_that_it_cannot() {
    let plan = Plan::of(3)
        .set("raft.snapshot_after_entries", 100)
        .set("raft.snapshot_after_commands", 100)
        .set("raft.log_entries_kept", 10);
    let cluster = plan.start().await;
    let session = load::running_session(cluster.http()).await;
    let away = cluster.followers().await[0];
    away.kill();
    let others: Vec<&Node> = cluster.nodes.iter().filter(|node| node.id != away.id).collect();
    let mut version = 2;
    for turn in 0..1_500 {
        let http = &others[turn % 2].http;
        version = number(&http.command(&session, "switch").await.expect(200).data()["version"]);
    }
    away.start();
    away.await_ready().await;
    cluster.await_caught_up(away, PATIENCE).await;
    for since in [2, version - 5, version] {
        let mut socket = Socket::resume(away.address, &session, since).await;
        let mut known = since;
        // Either all of it, or the state and word that something is missing.
        while known < version {
            let message = socket.message().await;
            let told = number(&message["version"]);
            if message["type"] == "STATE_SYNC" {
                assert_eq!(message["resumed"], false, "{message}");
                assert_eq!((known, told), (since, version));
            } else {
                assert_eq!(message["type"], "STATE_UPDATE");
                assert_eq!(told, known + 1);
            }
            known = told;
        }
        let _ = others[0].http.command(&session, "switch").await.expect(200);
        version += 1;
        updates(&mut socket, version..=version).await;
    }
}
