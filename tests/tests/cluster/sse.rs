//! The event stream: the WebSocket's messages for clients that only listen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::json;
use synckairos_tests::{
    cluster::Plan,
    events::Events,
    load,
    sessions::{content, new_id, new_session, number, session_id, with},
    shared::Meeting,
    socket::Socket,
    wait::{PATIENCE, eventually, holds},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

const OPEN: &str = "synckairos_event_streams";

#[tokio::test]
async fn the_state_then_every_update_as_a_websocket_tells_it() {
    let cluster = CLUSTER.join().await;
    let session = load::running_session(cluster.http()).await;
    let mut socket = Socket::resume(cluster.nodes[0].address, &session, 2).await;
    let mut streams = Vec::new();
    for node in &cluster.nodes {
        let mut events = Events::open(&node.http, &session, "").await;
        let sync = events.expect("STATE_SYNC").await;
        assert_eq!(sync.data["state"], cluster.http().state(&session).await);
        assert_eq!(sync.id, Some(format!("2-{}", sync.data["revision"])));
        streams.push(events);
    }
    for version in 3..=6_u64 {
        let _ = cluster.any(1).command(&session, "switch").await.expect(200);
        let told = socket.expect("STATE_UPDATE").await;
        for events in &mut streams {
            let update = events.expect("STATE_UPDATE").await;
            assert_eq!(content(&update.data), content(&told));
            assert_eq!(update.id, Some(format!("{version}-{}", told["revision"])));
        }
    }
    let _ = cluster.any(2).delete(&format!("/v1/sessions/{session}")).await.expect(204);
    for mut events in streams {
        let end = events.expect("SESSION_DELETED").await;
        assert_eq!(end.id.as_deref(), Some("end"));
        assert_eq!(events.next().await, None, "the stream ends");
    }
    // A browser comes back by itself, until it is told not to.
    let path = format!("/v1/sessions/{session}/events");
    let again = cluster.http().request(reqwest::Method::GET, &path).header("last-event-id", "end");
    let _ = synckairos_tests::http::must(again).await.expect(204);
}

#[tokio::test]
async fn a_client_goes_on_from_its_last_event_at_another_node() {
    let cluster = CLUSTER.join().await;
    let session = load::running_session(cluster.http()).await;
    let mut events = Events::open(&cluster.nodes[0].http, &session, "?since=0").await;
    let first = events.expect("STATE_UPDATE").await;
    let second = events.expect("STATE_UPDATE").await;
    assert_eq!((number(&first.data["version"]), number(&second.data["version"])), (1, 2));
    drop(events);
    for _ in 0..3 {
        let _ = cluster.any(0).command(&session, "switch").await.expect(200);
    }
    for node in &cluster.nodes {
        for last in ["2", second.id.as_deref().unwrap()] {
            let mut events = Events::open_after(&node.http, &session, "?since=0", Some(last)).await;
            for version in 3..=5 {
                assert_eq!(events.expect("STATE_UPDATE").await.data["version"], version);
            }
        }
        let mut future = Events::open(&node.http, &session, "?since=77").await;
        let sync = future.expect("STATE_SYNC").await;
        assert_eq!((&sync.data["version"], &sync.data["resumed"]), (&json!(5), &json!(false)));
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_meant_is_refused_as_everywhere() {
    let cluster = CLUSTER.join().await;
    let nobody = new_id();
    let http = cluster.any(1);
    let missing = http.get(&format!("/v1/sessions/{nobody}/events")).await.expect(404);
    assert_eq!(missing.kind(), "SESSION_NOT_FOUND");
    let malformed = http.get(&format!("/v1/sessions/{nobody}/events?since=x")).await.expect(400);
    assert_eq!(malformed.error()["details"][0]["field"], "since");
    let _ = http.get("/v1/sessions/nobody/events").await.expect(400);
    let _ = http.post(&format!("/v1/sessions/{nobody}/events")).await.expect(405);

    let mut gone = Events::open(http, &nobody, "?since=3").await;
    gone.expect("SESSION_DELETED").await;
    assert_eq!(gone.next().await, None);

    let body = new_session("per_participant", &[60_000]);
    let mut early = Events::open(http, &session_id(&body), "?since=0").await;
    let _ = cluster.any(0).create(&body).await.expect(201);
    assert_eq!(early.expect("STATE_UPDATE").await.data["version"], 1);
}

#[tokio::test]
async fn streams_are_counted_and_end_with_the_node() {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    let session = load::running_session(&node.http).await;
    let counted = async |expected: f64| {
        eventually(PATIENCE, "streams are counted", async || {
            let open = node.http.metric(OPEN).await;
            holds((open - expected).abs() < 0.5, || format!("{open}"))
        })
        .await;
    };
    let mut events = Events::open(&node.http, &session, "").await;
    let other = Events::open(&node.http, &session, "").await;
    counted(2.0).await;
    drop(other);
    counted(1.0).await;
    events.expect("STATE_SYNC").await;
    node.terminate();
    assert_eq!(events.next().await, None);
    assert!(node.await_end().await.success());
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_slows_nobody() {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    let body = new_session("per_participant", &[3_600_000, 3_600_000]);
    let bulky = with(body, "metadata", json!({"text": "x".repeat(16_000)}));
    let session = session_id(&bulky);
    let _ = node.http.create(&bulky).await.expect(201);
    let _ = node.http.command(&session, "start").await.expect(200);
    let mut deaf = TcpStream::connect(node.address).await.unwrap();
    let request = format!("GET /v1/sessions/{session}/events HTTP/1.1\r\nhost: node\r\n\r\n");
    deaf.write_all(request.as_bytes()).await.unwrap();
    let mut events = Events::open(&node.http, &session, "").await;
    let mut version = number(&events.expect("STATE_SYNC").await.data["version"]);
    eventually(PATIENCE, "both are there", async || {
        let open = node.http.metric(OPEN).await;
        holds(1.5 < open, || format!("{open}"))
    })
    .await;
    eventually(2 * PATIENCE, "the deaf one is cut off", async || {
        for _ in 0..50 {
            let _ = node.http.command(&session, "switch").await.expect(200);
            version += 1;
            assert_eq!(events.expect("STATE_UPDATE").await.data["version"], version);
        }
        let open = node.http.metric(OPEN).await;
        holds(open < 1.5, || format!("{open} streams at version {version}"))
    })
    .await;
}
