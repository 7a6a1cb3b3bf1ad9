//! The leader is killed, and then everybody: what was acknowledged is there, time runs on.

use std::time::{Duration, Instant};

use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    load::{self, Load},
    sessions,
    timeline::{self, Reading},
    wait::{PATIENCE, eventually, throughout},
};

/// Correctness, not speed: benchmarks measure how long a takeover takes.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
/// How far a running clock may be moved by a change of leader.
const CLOCK_STEP_MAX_MS: f64 = 50.0;

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_leader_and_clocks_run_on() {
    let cluster = Plan::of(3).start().await;
    let watched = load::running_session(cluster.http()).await;
    let leader = cluster.leader().await;
    let survivors: Vec<&Http> =
        cluster.nodes.iter().filter(|node| node.id != leader.id).map(|node| &node.http).collect();

    let state_before = survivors[0].state(&watched).await;
    let before = Reading::take(survivors[0]).await;
    let load = Load::start(&survivors, 6).await;
    throughout(Duration::from_secs(2), async || {}).await;
    let killed_at = Instant::now();
    leader.kill();
    let ids: Vec<u64> =
        cluster.nodes.iter().filter(|node| node.id != leader.id).map(|node| node.id).collect();
    cluster.leader_of(&ids).await;
    throughout(Duration::from_secs(1), async || {}).await;
    let tallies = load.stop().await;

    let takeover = load::takeover(&tallies, killed_at);
    let gap = load::longest_gap(&tallies);
    eprintln!("first success {takeover:?} after the kill, longest gap {gap:?}");
    assert!(gap.max(takeover) < TAKEOVER_MAX, "{gap:?} without an acknowledged switch");
    for tally in &tallies {
        for survivor in &survivors {
            tally.check(&survivor.state(&tally.session).await);
        }
    }
    clock_runs_on(&survivors, &watched, (&state_before, &before)).await;

    leader.start();
    leader.await_ready().await;
    cluster.await_caught_up(leader, PATIENCE).await;
    same_everywhere(&cluster, &watched).await;
    for tally in &tallies {
        same_everywhere(&cluster, &tally.session).await;
    }
}

/// The running clock of `session` is on the line that it was on before the loss.
async fn clock_runs_on(
    nodes: &[&Http],
    session: &str,
    (state_before, before): (&serde_json::Value, &Reading),
) {
    assert_eq!(&nodes[0].state(session).await, state_before, "nobody touched it");
    let after = Reading::take(nodes[1]).await;
    let (step, uncertain) = before.step_to(&after);
    eprintln!("cluster time moved by {step:.1} ms (±{uncertain:.1})");
    assert!(step.abs() - uncertain < CLOCK_STEP_MAX_MS, "moved by {step} ms (±{uncertain})");

    // Charged by the new leader, against the line drawn under the old one.
    let sent = Instant::now();
    let paused = nodes[0].command(session, "pause").await.expect(200).data();
    let answered = Instant::now();
    let bank =
        timeline::as_f64(sessions::number(&state_before["participants"][0]["total_time_ms"]));
    let since = timeline::as_f64(sessions::instant(&state_before["cycle_started_at"]));
    let left = timeline::as_f64(sessions::number(&paused["participants"][0]["time_remaining_ms"]));
    let line = |at: Instant| bank - (before.projected(at) - since);
    let slack = CLOCK_STEP_MAX_MS + before.uncertain_ms;
    assert!(
        line(answered) - slack <= left && left <= line(sent) + slack,
        "{left} ms left, {} to {} expected",
        line(answered),
        line(sent)
    );
}

async fn same_everywhere(cluster: &Cluster, session: &str) {
    let expected = cluster.http().session(session).await.expect(200).text;
    for node in &cluster.nodes {
        assert_eq!(node.http.session(session).await.expect(200).text, expected, "node {}", node.id);
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let cluster = Plan::of(3).start().await;
    let watched = load::running_session(cluster.http()).await;
    let state_before = cluster.http().state(&watched).await;
    let before = Reading::take(cluster.http()).await;
    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let load = Load::start(&all, 6).await;
    throughout(Duration::from_secs(2), async || {}).await;
    for node in &cluster.nodes {
        node.kill();
    }
    let tallies = load.stop().await;
    for node in &cluster.nodes {
        node.start();
    }
    cluster.await_ready().await;

    for tally in &tallies {
        assert!(!tally.acknowledged.is_empty());
        tally.check(&cluster.http().state(&tally.session).await);
        same_everywhere(&cluster, &tally.session).await;
    }
    assert_eq!(cluster.http().state(&watched).await, state_before);
    // Nobody was there to count: the clock went on by the hosts' clocks.
    let after = Reading::take(cluster.http()).await;
    let (step, uncertain) = before.step_to(&after);
    assert!(step.abs() - uncertain < CLOCK_STEP_MAX_MS, "moved by {step} ms (±{uncertain})");
}

#[tokio::test]
async fn a_leader_that_is_killed_again_and_again_loses_nothing() {
    let cluster = Plan::of(3).start().await;
    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let load = Load::start(&all, 4).await;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        leader.kill();
        let others: Vec<u64> =
            cluster.nodes.iter().map(|node| node.id).filter(|id| *id != leader.id).collect();
        cluster.leader_of(&others).await;
        leader.start();
        leader.await_ready().await;
        cluster.await_caught_up(leader, PATIENCE).await;
    }
    let tallies = load.stop().await;
    for tally in &tallies {
        for node in &cluster.nodes {
            tally.check(&node.http.state(&tally.session).await);
        }
    }
    let leader = cluster.leader().await;
    eventually(PATIENCE, "every node has the same log", async || {
        let wanted = leader.http.node().await?["applied"].clone();
        for node in &cluster.nodes {
            let applied = node.http.node().await?["applied"].clone();
            if applied != wanted {
                return Err(format!("node {} has applied {applied} of {wanted}", node.id));
            }
        }
        Ok(())
    })
    .await;
}
