//! What a node answers without asking the others says how old it may be; what it answers otherwise
//! is never older than a write that was acknowledged before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    load,
    node::Node,
    sessions::{instant, new_id, number, text},
    wait::{self, PATIENCE, eventually, holds, throughout},
};
use tokio::task::JoinSet;

/// How long the leader stands still.
const STANDSTILL: Duration = Duration::from_secs(10);
const READERS: usize = 40;

fn others<'a>(cluster: &'a Cluster, node: &Node) -> Vec<&'a Node> {
    cluster.nodes.iter().filter(|other| other.id != node.id).collect()
}

/// What the readers of one node saw.
#[derive(Debug, Default)]
struct Seen {
    fresh: usize,
    refused: usize,
    /// Connections that ended without an answer.
    lost: usize,
}

/// Reads again and again; each answer is held against what was acknowledged before its request.
async fn read_on(
    http: Http,
    session: String,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::SeqCst) {
        let known = acknowledged.load(Ordering::SeqCst);
        match http.try_get(&format!("/v1/sessions/{session}")).await {
            Ok(answer) if answer.status == 200 => {
                let version = number(&answer.data()["version"]);
                assert!(known <= version, "version {version} after {known} was acknowledged");
                seen.fresh += 1;
            }
            Ok(answer) => {
                let _ = answer.expect(503);
                seen.refused += 1;
            }
            Err(_) => seen.lost += 1,
        }
        wait::pass(Duration::from_millis(2)).await;
    }
    seen
}

#[tokio::test]
async fn a_leader_that_stood_still_for_ten_seconds_reads_nothing_old() {
    // Longer than it stands still, so that no connection is closed for its own silence.
    let cluster = Plan::of(3).set("http.header_read_timeout_ms", 60_000).start().await;
    let session = load::running_session(cluster.http()).await;
    let leader = cluster.leader().await;
    let rest = others(&cluster, leader);
    let acknowledged = Arc::new(AtomicU64::new(2));
    let stop = Arc::new(AtomicBool::new(false));
    // Their requests wait in the sockets of the frozen leader, a new one for each that is answered.
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        readers.spawn(read_on(leader.http.clone(), session.clone(), acknowledged, stop));
    }
    let write = async |node: &Node| {
        if let Ok(answer) = node.http.try_command(&session, "switch").await
            && answer.status == 200
        {
            acknowledged.fetch_max(number(&answer.data()["version"]), Ordering::SeqCst);
        }
    };
    throughout(Duration::from_secs(1), async || write(rest[0]).await).await;
    let before = acknowledged.load(Ordering::SeqCst);
    leader.pause();
    throughout(STANDSTILL, async || {
        write(rest[0]).await;
        write(rest[1]).await;
    })
    .await;
    let meanwhile = acknowledged.load(Ordering::SeqCst);
    assert!(before + 10 < meanwhile, "the others went on: {before} to {meanwhile}");
    leader.resume();
    // Writes go on while the leader finds out that it leads no more.
    throughout(Duration::from_secs(2), async || write(rest[1]).await).await;
    leader.await_ready().await;
    throughout(Duration::from_secs(1), async || write(rest[0]).await).await;
    stop.store(true, Ordering::SeqCst);
    let mut all = Seen::default();
    while let Some(seen) = readers.join_next().await {
        let seen = seen.unwrap();
        all.fresh += seen.fresh;
        all.refused += seen.refused;
        all.lost += seen.lost;
    }
    eprintln!("{all:?}, version {before} when it froze, {meanwhile} when it went on");
    assert!(READERS < all.fresh && all.lost == 0, "{all:?}");
}

#[tokio::test]
async fn a_stale_read_answers_at_once_and_says_how_old_it_may_be() {
    let cluster = Plan::of(3).with_links().start().await;
    let session = load::running_session(cluster.http()).await;
    let follower = cluster.followers().await[0];
    let path = format!("/v1/sessions/{session}?consistency=stale");
    cluster.await_caught_up(follower, PATIENCE).await;
    let linearizable = follower.http.get(&path.replace("stale", "linearizable")).await.expect(200);
    assert_eq!(linearizable.text, follower.http.session(&session).await.text);
    for node in &cluster.nodes {
        cluster.await_caught_up(node, PATIENCE).await;
        let answer = node.http.get(&path).await.expect(200).json();
        assert_eq!(answer["data"], linearizable.data(), "node {}", node.id);
        let revision = number(&node.http.node().await.unwrap()["applied"]);
        assert!(number(&answer["revision"]) <= revision);
        let as_of = number(&answer["as_of_ms"]);
        assert!(instant(&answer["data"]["updated_at"]) <= as_of, "{answer}");
        assert!(number(&answer["leader_heard_ms"]) < 2_000, "{answer}");
    }

    // Cut off, it answers all the same, and its answers get older.
    cluster.links().isolate(follower.id);
    let rest = others(&cluster, follower);
    let version = eventually(PATIENCE, "the majority goes on", async || {
        let answer = rest[0].http.command(&session, "switch").await;
        holds(answer.status == 200, || answer.text.clone())?;
        Ok(number(&answer.data()["version"]))
    })
    .await;
    let began = Instant::now();
    let old = follower.http.get(&path).await.expect(200).json();
    assert!(began.elapsed() < Duration::from_secs(1), "at once");
    assert!(number(&old["data"]["version"]) < version, "{old}");
    eventually(PATIENCE, "its silence is told", async || {
        let answer = follower.http.get(&path).await.expect(200).json();
        assert_eq!(answer["as_of_ms"], old["as_of_ms"], "nothing new comes here");
        holds(1_500 < number(&answer["leader_heard_ms"]), || answer.to_string())
    })
    .await;
    let listed = follower.http.get("/v1/sessions?consistency=stale").await.expect(200).json();
    assert_eq!(listed["data"][0]["session_id"], session, "{listed}");
    assert_eq!(listed["revision"], old["revision"]);

    cluster.links().heal();
    eventually(PATIENCE, "it catches up", async || {
        let answer = follower.http.get(&path).await.expect(200).json();
        holds(version <= number(&answer["data"]["version"]), || answer.to_string())
    })
    .await;
    let missing = format!("/v1/sessions/{}?consistency=stale", new_id());
    let missing = follower.http.get(&missing).await.expect(404);
    assert!(missing.error()["context"]["as_of_ms"].is_u64(), "{}", missing.text);
}

#[tokio::test]
async fn only_what_is_offered_is_taken() {
    let cluster = Plan::of(1).start().await;
    for word in ["lease", "eventual", ""] {
        for path in [format!("/v1/sessions/{}", new_id()), String::from("/v1/sessions")] {
            let answer = cluster.http().get(&format!("{path}?consistency={word}")).await;
            let error = answer.expect(400).error();
            assert_eq!(error["details"][0]["field"], "consistency", "{error}");
            let message = text(&error["details"][0]["message"]);
            assert!(message.contains("known are linearizable, stale"), "{message}");
        }
    }
}
