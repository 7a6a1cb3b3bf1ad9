//! The WebSocket as v2's clients know it, with what v3 fixed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use serde_json::{Value, json};
use synckairos_tests::{
    cluster::Plan,
    sessions::{new_id, new_session, number, session_id, with},
    shared::Meeting,
    socket::{Frame, Socket},
    wait::{PATIENCE, eventually, holds},
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

/// Two periods of the heartbeat, and some.
const HEARTBEAT_MAX: Duration = Duration::from_secs(12);

#[tokio::test]
async fn what_is_wrong_with_the_url_is_told_on_the_open_socket() {
    let cluster = CLUSTER.join().await;
    let address = cluster.nodes[0].address;
    let table = [
        ("/ws", "Missing sessionId parameter"),
        ("/ws?sessionId=", "Missing sessionId parameter"),
        ("/ws?session_id=00000000-0000-4000-8000-000000000000", "Missing sessionId parameter"),
        ("/ws?sessionId=nonsense", "Invalid sessionId format"),
        ("/ws?sessionId=00000000-0000-4000-8000-00000000000g", "Invalid sessionId format"),
    ];
    for (path, reason) in table {
        let mut socket = Socket::open(address, path).await;
        assert_eq!(socket.closed().await, (1008, reason.to_owned()), "{path}");
    }
    for path in ["/ws/", "/socket", "/v1/ws"] {
        let refused = Socket::try_open(address, &format!("{path}?sessionId={}", new_id())).await;
        let error = refused.err().unwrap_or_else(|| panic!("{path} is upgraded")).to_string();
        assert!(error.contains("400"), "{path}: {error}");
    }
}

#[tokio::test]
async fn the_check_of_the_id_is_looser_than_rests() {
    let cluster = CLUSTER.join().await;
    let odd = "00000000-0000-0000-0000-00000000000a";
    let path = format!("/ws?sessionId={odd}&sessionId={}", new_id());
    let mut socket = Socket::open(cluster.nodes[1].address, &path).await;
    let connected = socket.expect("CONNECTED").await;
    assert_eq!(connected["sessionId"], odd, "the first of repeated parameters");
}

#[tokio::test]
async fn one_word_of_welcome_and_nothing_unasked() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let _ = cluster.http().create(&body).await.expect(201);
    for node in &cluster.nodes {
        // It has applied the creation, so that is not news to the socket.
        let _ = node.http.state(&id).await;
        let mut socket = Socket::open(node.address, &format!("/ws?sessionId={id}")).await;
        let connected = socket.message().await;
        assert_eq!(connected["type"], "CONNECTED");
        assert_eq!(connected["sessionId"], id);
        assert!(connected["timestamp"].is_u64());
        assert_eq!(connected.as_object().unwrap().len(), 3, "{connected}");
        socket.expect_silence().await;
    }
}

#[tokio::test]
async fn every_change_is_pushed_once_and_in_order_on_every_node() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let mut sockets = Vec::new();
    for node in &cluster.nodes {
        // Before the session exists.
        sockets.push(node.watch(&id).await);
    }
    let mut told = vec![cluster.any(0).create(&body).await.expect(201).data()];
    for (turn, verb) in ["start", "switch", "pause", "resume", "complete"].into_iter().enumerate() {
        let data = cluster.any(turn).command(&id, verb).await.expect(200).data();
        told.push(data);
    }
    let causes = ["created", "started", "switched", "paused", "resumed", "completed"];
    for socket in &mut sockets {
        let mut revision = 0;
        for (index, cause) in causes.iter().enumerate() {
            let update = socket.expect("STATE_UPDATE").await;
            assert_eq!(update["sessionId"], id);
            assert_eq!(update["cause"]["type"], *cause);
            assert_eq!(update["cause"]["reason"], "command");
            let version = u64::try_from(index + 1).unwrap();
            assert_eq!(update["version"], version);
            assert_eq!(update["state"]["version"], version, "the committed version");
            if *cause != "switched" {
                assert_eq!(update["state"], told[index], "{cause}");
            }
            assert!(update["timestamp"].is_u64() && update["server_time_ms"].is_u64());
            assert!(revision < number(&update["revision"]));
            revision = number(&update["revision"]);
        }
        socket.expect_silence().await;
    }
    let _ = cluster.any(1).delete(&format!("/v1/sessions/{id}")).await.expect(204);
    for socket in &mut sockets {
        let deleted = socket.expect("SESSION_DELETED").await;
        assert_eq!(deleted["sessionId"], id);
        assert!(deleted["timestamp"].is_u64());
        assert_eq!(socket.closed().await, (1000, String::from("Session deleted")));
    }
}

#[tokio::test]
async fn a_refused_create_and_a_delete_of_nothing_push_nothing() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let mut socket = cluster.nodes[2].watch(&id).await;
    let _ = cluster.any(0).delete(&format!("/v1/sessions/{id}")).await.expect(204);
    let _ = cluster.any(0).create(&body).await.expect(201);
    let _ = cluster.any(1).create(&body).await.expect(201);
    let _ = cluster.any(1).create(&with(body.clone(), "increment_ms", 5)).await.expect(409);
    let _ = cluster.any(1).command(&id, "start").await.expect(200);
    let _ = cluster.any(1).command(&id, "start").await.expect(400);
    assert_eq!(socket.expect("STATE_UPDATE").await["cause"]["type"], "created");
    assert_eq!(socket.expect("STATE_UPDATE").await["cause"]["type"], "started");
    socket.expect_silence().await;
}

#[tokio::test]
async fn reconnect_brings_the_state() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let mut socket = cluster.nodes[1].watch(&id).await;
    socket.send(r#"{"type":"RECONNECT"}"#).await;
    let missing = socket.expect("ERROR").await;
    assert_eq!(missing["code"], "SESSION_NOT_FOUND");
    assert_eq!(missing["message"], format!("Session {id} not found"));
    assert_eq!(missing.as_object().unwrap().len(), 3, "{missing}");
    let _ = cluster.any(0).create(&body).await.expect(201);
    socket.expect("STATE_UPDATE").await;
    socket.send(r#"{"type":"RECONNECT"}"#).await;
    let sync = socket.expect("STATE_SYNC").await;
    assert_eq!(sync["state"], cluster.any(2).state(&id).await);
    assert_eq!(sync["sessionId"], id);

    let path = format!("/ws?sessionId={id}&snapshot=true");
    let mut at_once = Socket::open(cluster.nodes[2].address, &path).await;
    at_once.expect("CONNECTED").await;
    assert_eq!(at_once.expect("STATE_SYNC").await["state"], sync["state"]);
}

#[tokio::test]
async fn what_is_no_message_is_ignored() {
    let cluster = CLUSTER.join().await;
    let mut socket = cluster.nodes[0].watch(&new_id()).await;
    for text in
        ["nonsense", "null", "7", "[]", "{}", r#"{"type":"ping"}"#, r#"{"type":"WHAT"}"#, ""]
    {
        socket.send(text).await;
    }
    socket.send(r#"{"type":"PING","extra":{"a":1}}"#).await;
    let pong = socket.expect("PONG").await;
    assert!(pong["timestamp"].is_u64());
    assert_eq!(pong.as_object().unwrap().len(), 2);
    socket.send_binary(br#"{"type":"PING"}"#).await;
    socket.expect("PONG").await;
}

#[tokio::test]
async fn a_subscription_is_to_the_exact_spelling() {
    let cluster = CLUSTER.join().await;
    let body = with(new_session("per_participant", &[60_000]), "session_id", json!(letters()));
    let id = session_id(&body);
    let mut shouted = cluster.nodes[0].watch(&id.to_uppercase()).await;
    let mut exact = cluster.nodes[0].watch(&id).await;
    let _ = cluster.any(0).create(&body).await.expect(201);
    exact.expect("STATE_UPDATE").await;
    shouted.expect_silence().await;
}

/// An id that has letters for sure.
fn letters() -> Value {
    json!(format!("abcdef{}", &new_id()[6..]))
}

#[tokio::test]
async fn who_answers_pings_stays_and_who_does_not_is_dropped() {
    let cluster = CLUSTER.join().await;
    // The follower's sockets are counted by nobody else.
    let node = &cluster.nodes[2];
    let before = node.http.metric("synckairos_websocket_connections").await;
    let mut silent = node.watch(&new_id()).await;
    let mut awake = node.watch(&new_id()).await;
    let counted = async |expected: f64| {
        let open = node.http.metric("synckairos_websocket_connections").await - before;
        holds(open <= expected, || format!("{open} sockets"))
    };
    let watching = async {
        let mut pings = 0;
        while let Some(frame) = awake.frame(HEARTBEAT_MAX).await {
            assert_eq!(frame, Frame::Ping);
            pings += 1;
            if pings == 3 {
                return;
            }
        }
        panic!("pings come every five seconds");
    };
    // `silent` is not read, so that its pongs are not sent.
    let dropped = eventually(PATIENCE, "the silent one is dropped", async || counted(1.0).await);
    tokio::join!(watching, dropped);
    awake.expect_silence().await;
    assert_eq!(silent.next_but_pings(PATIENCE).await, Some(Frame::Gone), "without a close frame");
}
