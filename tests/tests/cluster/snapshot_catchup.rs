//! A node that was away for longer than the log is kept gets a snapshot while the others serve.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    load::{self, Load},
    sessions::{self, number},
    wait::{eventually, holds},
};
use tokio::task::JoinSet;

const COMMANDS: u64 = 100_000;
const SESSIONS: usize = 400;
/// The node must catch up, however busy the machine; how fast is for benchmarks.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_node_that_missed_a_hundred_thousand_commands_catches_up_by_snapshot() {
    let plan = Plan::of(3)
        .set("http.access_log", false)
        .set("raft.snapshot_after_entries", 100)
        .set("raft.snapshot_after_commands", 5_000)
        .set("raft.log_entries_kept", 20);
    let cluster = plan.start().await;
    let away = cluster.followers().await[0];
    let serving: Vec<&Http> =
        cluster.nodes.iter().filter(|node| node.id != away.id).map(|node| &node.http).collect();
    let before = away.http.node().await.unwrap();
    away.kill();

    let began = Instant::now();
    let sessions = drive(&serving).await;
    eprintln!("{COMMANDS} commands in {:?}", began.elapsed());

    let load = Load::start(&serving, 2).await;
    let began = Instant::now();
    away.start();
    let mut socket = None;
    if let Ok(early) = synckairos_tests::socket::Socket::try_open(
        away.address,
        &format!("/ws?sessionId={}", sessions[0]),
    )
    .await
    {
        socket = Some(early);
    }
    away.await_ready().await;
    cluster.await_caught_up(away, CATCH_UP_MAX).await;
    eprintln!("caught up in {:?}", began.elapsed());
    drop(socket);
    let tallies = load.stop().await;
    assert!(tallies.iter().all(|tally| !tally.acknowledged.is_empty()), "the others served");
    for tally in &tallies {
        assert_eq!(tally.unknown, Vec::<String>::new());
        tally.check(&away.http.state(&tally.session).await);
    }

    // Its own log has only what came after the snapshot.
    let written = away.http.metric("synckairos_commands_total").await;
    assert!(written < 50_000.0, "{written} commands came by the log");
    let applied = number(&away.http.node().await.unwrap()["applied"]);
    assert!(number(&before["applied"]) < applied);
    same_sessions(&cluster, &sessions).await;

    // What it got is durable, and it can lead.
    away.kill();
    away.start();
    away.await_ready().await;
    cluster.await_caught_up(away, CATCH_UP_MAX).await;
    same_sessions(&cluster, &sessions).await;
}

/// 100,000 acknowledged switches over many sessions; the sessions.
async fn drive(nodes: &[&Http]) -> Vec<String> {
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for client in 0..SESSIONS {
        let http = nodes[client % nodes.len()].clone();
        let done = Arc::clone(&done);
        clients.spawn(async move {
            let session = load::running_session(&http).await;
            while done.fetch_add(1, Ordering::Relaxed) < COMMANDS {
                let _ = http.command(&session, "switch").await.expect(200);
            }
            session
        });
    }
    let mut sessions = Vec::new();
    while let Some(session) = clients.join_next().await {
        sessions.push(session.expect("a client only switches"));
    }
    sessions
}

async fn same_sessions(cluster: &Cluster, sessions: &[String]) {
    let mut switches = 0;
    for session in sessions {
        let expected = cluster.http().session(session).await.expect(200);
        switches += sessions::cycles(&expected.data());
        for node in &cluster.nodes {
            let answer = node.http.session(session).await.expect(200);
            assert_eq!(answer.text, expected.text, "node {}", node.id);
        }
    }
    assert_eq!(switches, COMMANDS);
    let count = cluster.http().metric("synckairos_active_sessions").await;
    for node in &cluster.nodes {
        eventually(CATCH_UP_MAX, "every node holds as many sessions", async || {
            let here = node.http.metric("synckairos_active_sessions").await;
            holds((here - count).abs() < 0.5, || format!("{here} of {count}"))
        })
        .await;
    }
}
