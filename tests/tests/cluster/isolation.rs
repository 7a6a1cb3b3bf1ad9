//! A node that is cut off says so; it never answers from memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Answer,
    load,
    node::Node,
    sessions::{self, number},
    wait::{PATIENCE, eventually, holds, throughout},
};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1_500);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(3);

fn plan() -> Plan {
    plan_of(3)
}

fn plan_of(nodes: u64) -> Plan {
    Plan::of(nodes).set("sessions.request_timeout_ms", 1_500)
}

fn others<'a>(cluster: &'a Cluster, node: &Node) -> Vec<&'a Node> {
    cluster.nodes.iter().filter(|other| other.id != node.id).collect()
}

fn ids(nodes: &[&Node]) -> Vec<u64> {
    nodes.iter().map(|node| node.id).collect()
}

/// The node refuses, in time, and says that nothing happened.
async fn refuses(node: &Node, session: &str) {
    let began = Instant::now();
    let read = node.http.session(session).await.expect(503);
    let write = node.http.command(session, "switch").await.expect(503);
    let took = began.elapsed();
    for answer in [&read, &write] {
        let error = answer.error();
        assert_eq!(error["code"], "NO_LEADER", "{error}");
        assert_eq!(error["retryable"], true);
        assert_eq!(error["effect"], "none");
        assert!(answer.header("retry-after").is_some());
    }
    assert!(took < 2 * (REQUEST_TIMEOUT + SLACK), "{took:?} for two requests");
    let ready = node.http.get("/ready").await.expect(503).json();
    assert_eq!(ready["status"], "not_ready");
    assert!(ready["error"].is_string(), "{ready}");
    let _ = node.http.get("/health").await.expect(200);
}

async fn await_leaderless(node: &Node) {
    eventually(PATIENCE, "the node knows that it has no leader", async || {
        let status = node.http.node().await?;
        holds(status["leader_id"] == Value::Null, || status.to_string())
    })
    .await;
}

/// Switches on `node` until one is acknowledged; the version it made.
async fn switch_eventually(node: &Node, session: &str) -> u64 {
    eventually(PATIENCE, "a switch is acknowledged", async || {
        let answer = node.http.command(session, "switch").await;
        holds(answer.status == 200, || answer.text.clone())?;
        Ok(number(&answer.data()["version"]))
    })
    .await
}

async fn same_everywhere(cluster: &Cluster, session: &str, version: u64) {
    for node in &cluster.nodes {
        let what = format!("node {} answers with version {version}", node.id);
        eventually(PATIENCE, &what, async || {
            let answer = node.http.session(session).await;
            holds(answer.status == 200, || answer.text.clone())?;
            let state = answer.data();
            // Whatever it answers, it must be the latest.
            assert_eq!(state["version"], version, "node {}", node.id);
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_follower_that_is_cut_off_refuses_and_catches_up() {
    let cluster = plan().with_links().start().await;
    let session = load::running_session(cluster.http()).await;
    let follower = cluster.followers().await[0];
    let rest = others(&cluster, follower);
    cluster.links().isolate(follower.id);
    // Before it has noticed, it must not answer from memory either.
    let version = switch_eventually(rest[0], &session).await;
    let read = follower.http.session(&session).await.expect(503);
    assert_eq!(read.kind(), "NO_LEADER");
    await_leaderless(follower).await;
    refuses(follower, &session).await;

    let leader = cluster.leader_of(&ids(&rest)).await.id;
    let term = follower.http.node().await.unwrap()["term"].clone();
    let mut last = version;
    throughout(Duration::from_secs(2), async || {
        last =
            number(&rest[0].http.command(&session, "switch").await.expect(200).data()["version"]);
    })
    .await;
    assert!(version + 5 < last, "the majority goes on");
    let now = follower.http.node().await.unwrap()["term"].clone();
    assert_eq!(now, term, "who cannot win does not raise the term");

    cluster.links().heal();
    follower.await_ready().await;
    cluster.await_caught_up(follower, PATIENCE).await;
    assert_eq!(cluster.leader().await.id, leader, "its return disturbs nobody");
    same_everywhere(&cluster, &session, last).await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_gives_way() {
    let cluster = plan().with_links().start().await;
    let session = load::running_session(cluster.http()).await;
    let leader = cluster.leader().await;
    let rest = others(&cluster, leader);
    cluster.links().isolate(leader.id);
    cluster.leader_of(&ids(&rest)).await;
    let version = switch_eventually(rest[0], &session).await;

    // The old leader may still believe that it leads; it has no majority to confirm it.
    let began = Instant::now();
    let read = leader.http.session(&session).await.expect(503);
    assert_eq!(read.kind(), "NO_LEADER");
    let write = leader.http.command(&session, "switch").await;
    assert!([503, 504].contains(&write.status), "{}", write.text);
    assert!(began.elapsed() < 2 * (REQUEST_TIMEOUT + SLACK));
    await_leaderless(leader).await;
    refuses(leader, &session).await;

    let version = version.max(switch_eventually(rest[1], &session).await);
    cluster.links().heal();
    leader.await_ready().await;
    cluster.await_caught_up(leader, PATIENCE).await;
    // The write that had no majority was never acknowledged, and is not there.
    same_everywhere(&cluster, &session, version).await;
    let cycles = sessions::cycles(&cluster.http().state(&session).await);
    assert_eq!(version, cycles + 2);
}

#[tokio::test]
async fn a_leader_that_stood_still_does_not_answer_from_before() {
    let cluster = plan().start().await;
    let session = load::running_session(cluster.http()).await;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let rest = others(&cluster, leader);
        leader.pause();
        cluster.leader_of(&ids(&rest)).await;
        let mut version = switch_eventually(rest[0], &session).await;
        version = version.max(switch_eventually(rest[1], &session).await);

        // Requests that wait in its sockets, answered first thing when it wakes up.
        let waiting = join_all((0..20).map(|_| leader.http.session(&session)));
        let (answers, ()) = tokio::join!(waiting, async {
            throughout(Duration::from_millis(300), async || {}).await;
            leader.resume();
        });
        fresh_or_refused(&answers, version);
        leader.await_ready().await;
        cluster.await_caught_up(leader, PATIENCE).await;
        same_everywhere(&cluster, &session, version).await;
    }
}

fn fresh_or_refused(answers: &[Answer], version: u64) {
    for answer in answers {
        match answer.status {
            200 => assert_eq!(answer.data()["version"], version, "a stale read"),
            503 => assert_eq!(answer.kind(), "NO_LEADER"),
            other => panic!("{other} {}", answer.text),
        }
    }
}

#[tokio::test]
async fn a_node_alone_is_always_in_touch_with_itself() {
    let cluster = plan_of(1).start().await;
    throughout(Duration::from_secs(3), async || {
        let _ = cluster.http().get("/ready").await.expect(200);
    })
    .await;
    let status = cluster.http().node().await.unwrap();
    assert_eq!(status["leader_id"], 1, "{status}");
}

#[tokio::test]
async fn without_a_majority_nobody_answers_and_everything_is_there_afterwards() {
    let cluster = plan().start().await;
    let session = load::running_session(cluster.http()).await;
    let version = switch_eventually(&cluster.nodes[0], &session).await;
    let leader = cluster.leader().await;
    let rest = others(&cluster, leader);
    rest[0].kill();
    leader.kill();
    await_leaderless(rest[1]).await;
    refuses(rest[1], &session).await;
    rest[0].start();
    leader.start();
    cluster.await_ready().await;
    same_everywhere(&cluster, &session, version).await;
}
