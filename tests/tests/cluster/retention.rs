//! Sessions that nobody can use any more go away by themselves, and with a word; those that can
//! still run never do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use synckairos_tests::{
    cluster::Plan,
    sessions::{new_session, session_id},
    shared::Meeting,
};

/// Long enough to use a session in, short enough to outlive.
const RETENTION_MS: i64 = 2_000;

static CLUSTER: Meeting = Meeting::new(|| Plan::of(1).set("sessions.retention_ms", RETENTION_MS));

#[tokio::test]
async fn ended_and_unstarted_sessions_are_removed_and_paused_ones_are_not() {
    let cluster = CLUSTER.join().await;
    let bodies: Vec<_> =
        (0..3).map(|_| new_session("per_participant", &[60_000, 60_000])).collect();
    let ids: Vec<_> = bodies.iter().map(session_id).collect();
    let [unstarted, completed, paused] = ids.as_slice() else { unreachable!("three were made") };
    // Before the sessions exist, so that the end of none can be missed.
    let mut sockets = Vec::new();
    for id in [unstarted, completed] {
        sockets.push((id, cluster.nodes[0].watch(id).await));
    }
    for body in &bodies {
        let _ = cluster.http().create(body).await.expect(201);
    }
    let _ = cluster.http().command(completed, "complete").await.expect(200);
    let _ = cluster.http().command(paused, "start").await.expect(200);
    let _ = cluster.http().command(paused, "pause").await.expect(200);

    for (id, mut socket) in sockets {
        let deleted = loop {
            let message = socket.message().await;
            if message["type"] != "STATE_UPDATE" {
                break message;
            }
        };
        assert_eq!(deleted["type"], "SESSION_DELETED", "{deleted}");
        assert_eq!(deleted["sessionId"], **id);
        assert_eq!(deleted["cause"]["reason"], "auto", "{deleted}");
        assert_eq!(socket.closed().await, (1000, String::from("Session deleted")));
        assert_eq!(cluster.http().session(id).await.kind(), "SESSION_NOT_FOUND");
    }
    let _ = cluster.http().session(paused).await.expect(200);
}
