//! A span in which nobody could act: charged like any other time, or not at all where the session
//! asked for that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    sessions::{instant, new_session, number, session_id, text, with},
    socket::Socket,
    timeline::{as_f64, milliseconds},
    wait::{PATIENCE, eventually, holds, throughout},
};

/// How long a leader may stamp what will be committed later, until it notices that it is alone.
const UNNOTICED_MAX: Duration = Duration::from_millis(1_200);
/// Whole milliseconds, and how long a signal takes.
const UNCERTAIN_MS: f64 = 50.0;
/// What the span may be longer by than the test waited: who was never heard of again leaves only
/// the last word in the log, which is a second old at most; and a busy machine.
const LONGER_MAX_MS: f64 = 2_500.0;

/// A span in which nobody could act. When somebody can again depends on how fast nodes start, and
/// nobody outside knows the moment: so it is bounded from both sides.
struct Outage {
    /// Before the first node was lost.
    began: Instant,
    /// Nobody acted for at least so long.
    least: Duration,
}

/// A session with this bank that runs and ends with it.
async fn running(http: &Http, bank_ms: u64, on_outage: Option<&str>) -> (String, Value) {
    let body = with(
        new_session("per_participant", &[bank_ms, bank_ms]),
        "on_timeout",
        json!({"type": "end_session"}),
    );
    let body = match on_outage {
        Some(rule) => with(body, "on_outage", rule),
        None => body,
    };
    let id = session_id(&body);
    let created = http.create(&body).await.expect(201).data();
    let shown = created.get("on_outage");
    assert_eq!(shown, on_outage.filter(|rule| *rule == "freeze").map(Value::from).as_ref());
    (id.clone(), http.command(&id, "start").await.expect(200).data())
}

/// The session once it is credited, and by how much: about `outage`, and nothing else happened.
async fn credited(http: &Http, id: &str, before: &Value, outage: &Outage) -> (Value, u64) {
    let after = credited_at_all(http, id, before).await;
    let credited_ms = number(&after["deadline_ms"]) - number(&before["deadline_ms"]);
    let least = milliseconds(outage.least) - UNCERTAIN_MS;
    let most = milliseconds(outage.began.elapsed()) + LONGER_MAX_MS;
    eprintln!("credited {credited_ms} ms of {least} to {most}");
    assert!(
        (least..=most).contains(&as_f64(credited_ms)),
        "credited {credited_ms} ms, which is not from {least} to {most}"
    );
    (after, credited_ms)
}

async fn credited_at_all(http: &Http, id: &str, before: &Value) -> Value {
    let after = eventually(PATIENCE, "the session is credited", async || {
        let answer = http.try_get(&format!("/v1/sessions/{id}")).await;
        let answer = answer.map_err(|error| error.to_string())?;
        holds(answer.status == 200, || answer.text.clone())?;
        let state = answer.data();
        holds(state["version"] != before["version"], || state.to_string())?;
        Ok(state)
    })
    .await;
    assert_eq!(after["status"], "running", "{after}");
    let credited_ms = number(&after["deadline_ms"]) - number(&before["deadline_ms"]);
    let moved = instant(&after["cycle_started_at"]) - instant(&before["cycle_started_at"]);
    assert_eq!(moved, credited_ms, "clients draw it from there");
    assert_eq!(after["participants"], before["participants"], "nothing was charged");
    after
}

/// Kills the nodes of `ids`, and starts them again after `span`; somebody leads then.
async fn without(cluster: &Cluster, ids: &[u64], span: Duration) -> Outage {
    let began = Instant::now();
    for id in ids {
        cluster.node(*id).kill();
    }
    let lost = Instant::now();
    throughout(span, async || {}).await;
    let unnoticed = if ids.len() < cluster.nodes.len() { UNNOTICED_MAX } else { Duration::ZERO };
    let least = lost.elapsed() - unnoticed;
    for id in ids {
        cluster.node(*id).start();
    }
    cluster.leader().await;
    Outage { began, least }
}

/// Every update up to `after` is a credit; how much they are in all.
async fn told_credits(socket: &mut Socket, after: &Value) -> u64 {
    let mut credited_ms = 0;
    loop {
        let update = socket.expect("STATE_UPDATE").await;
        let cause = &update["cause"];
        assert_eq!(cause["type"], "outage_credited", "{update}");
        assert_eq!(cause["reason"], "auto");
        let span = number(&cause["until_ms"]) - number(&cause["from_ms"]);
        assert_eq!(number(&cause["credited_ms"]), span, "it ran all the while");
        credited_ms += span;
        if update["version"] == after["version"] {
            assert_eq!(&update["state"], after);
            return credited_ms;
        }
    }
}

#[tokio::test]
async fn a_lost_majority_is_charged_or_credited_as_the_session_asked() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await.id;
    let lost: Vec<u64> =
        cluster.nodes.iter().map(|node| node.id).filter(|id| *id != leader).collect();
    let survivor = cluster.node(leader);
    let (charged, charged_before) = running(&survivor.http, 120_000, Some("charge")).await;
    let (plain, plain_before) = running(&survivor.http, 120_000, None).await;
    let (frozen, frozen_before) = running(&survivor.http, 120_000, Some("freeze")).await;
    // These run out while nobody could act.
    let (short, _) = running(&survivor.http, 2_500, None).await;
    let (saved, saved_before) = running(&survivor.http, 2_500, Some("freeze")).await;

    let outage = without(&cluster, &lost, Duration::from_secs(4)).await;
    let (after, credited_ms) = credited(&survivor.http, &frozen, &frozen_before, &outage).await;
    for (id, before) in [(&charged, &charged_before), (&plain, &plain_before)] {
        assert_eq!(&survivor.http.state(id).await, before);
    }
    // Sockets were told that this node is out of touch; whoever comes back once it answers is served
    // at once, and misses nothing.
    let version = number(&frozen_before["version"]);
    let mut socket = Socket::resume(survivor.address, &frozen, version).await;
    assert_eq!(told_credits(&mut socket, &after).await, credited_ms);

    eventually(PATIENCE, "what was charged ran out", async || {
        let state = survivor.http.state(&short).await;
        holds(state["status"] == "expired", || state.to_string())
    })
    .await;
    eventually(PATIENCE, "what was credited runs out later", async || {
        let state = survivor.http.state(&saved).await;
        holds(state["status"] == "expired", || state.to_string())?;
        let due = number(&saved_before["deadline_ms"]);
        let expired_at = instant(&state["expired_at"]);
        assert!(due + credited_ms / 2 < expired_at, "expired at {expired_at}, due {due}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_death_of_every_node_is_credited_from_the_last_word_in_the_log() {
    let cluster = Plan::of(3).start().await;
    let (charged, charged_before) = running(cluster.http(), 120_000, None).await;
    let (frozen, frozen_before) = running(cluster.http(), 120_000, Some("freeze")).await;
    // The log is quiet but for its beats, which tell until when somebody could act.
    throughout(Duration::from_secs(3), async || {}).await;
    let all: Vec<u64> = cluster.nodes.iter().map(|node| node.id).collect();
    let outage = without(&cluster, &all, Duration::from_secs(2)).await;
    let (after, _) = credited(cluster.http(), &frozen, &frozen_before, &outage).await;
    cluster.await_ready().await;
    for node in &cluster.nodes {
        assert_eq!(node.http.state(&frozen).await, after, "node {}", node.id);
        assert_eq!(node.http.state(&charged).await, charged_before, "node {}", node.id);
    }
    assert_eq!(text(&after["on_outage"]), "freeze");
}

#[tokio::test]
async fn a_change_of_leader_credits_no_more_than_it_took() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await;
    let rest: Vec<u64> =
        cluster.nodes.iter().map(|node| node.id).filter(|id| *id != leader.id).collect();
    let other = cluster.node(rest[0]);
    let (frozen, before) = running(&other.http, 120_000, Some("freeze")).await;
    let began = Instant::now();
    leader.kill();
    cluster.leader_of(&rest).await;
    let after = credited_at_all(&other.http, &frozen, &before).await;
    let took = milliseconds(began.elapsed());
    let credited_ms = as_f64(number(&after["deadline_ms"]) - number(&before["deadline_ms"]));
    assert!(credited_ms <= took + 500.0, "{credited_ms} ms for {took} ms");
}

#[tokio::test]
async fn a_node_alone_that_stood_still_credits_it() {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    let (frozen, before) = running(&node.http, 120_000, Some("freeze")).await;
    let began = Instant::now();
    node.pause();
    let paused = Instant::now();
    throughout(Duration::from_secs(3), async || {}).await;
    let outage = Outage { began, least: paused.elapsed() };
    node.resume();
    credited(&node.http, &frozen, &before, &outage).await;
}
