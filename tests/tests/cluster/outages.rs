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

/// What the span may seem shorter by: how long a leader does not notice that it is alone, and may
/// stamp what will be committed later.
const SHORTER_MAX_MS: f64 = 1_700.0;
/// What the span may seem longer by: who was never heard of again leaves only the last word in the
/// log, which is a second old at most; and a busy machine.
const LONGER_MAX_MS: f64 = 2_500.0;

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
async fn credited(http: &Http, id: &str, before: &Value, outage: Duration) -> (Value, u64) {
    let after = credited_at_all(http, id, before).await;
    let credited_ms = number(&after["deadline_ms"]) - number(&before["deadline_ms"]);
    let apart = as_f64(credited_ms) - milliseconds(outage);
    eprintln!("credited {credited_ms} ms for {outage:?}");
    assert!(
        (-SHORTER_MAX_MS..=LONGER_MAX_MS).contains(&apart),
        "credited {credited_ms} ms for {outage:?}"
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

/// Kills the nodes of `ids`, and starts them again after `span`. How long nobody led.
async fn without(cluster: &Cluster, ids: &[u64], span: Duration) -> Duration {
    let began = Instant::now();
    for id in ids {
        cluster.node(*id).kill();
    }
    throughout(span, async || {}).await;
    for id in ids {
        cluster.node(*id).start();
    }
    cluster.leader().await;
    began.elapsed()
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
    let (after, credited_ms) = credited(&survivor.http, &frozen, &frozen_before, outage).await;
    for (id, before) in [(&charged, &charged_before), (&plain, &plain_before)] {
        assert_eq!(&survivor.http.state(id).await, before);
    }
    // Sockets were told that this node is out of touch; whoever comes back misses nothing.
    let version = number(&frozen_before["version"]);
    let mut socket = Socket::resume(survivor.address, &frozen, version).await;
    let update = socket.expect("STATE_UPDATE").await;
    let cause = &update["cause"];
    assert_eq!(cause["type"], "outage_credited", "{update}");
    assert_eq!(cause["reason"], "auto");
    assert_eq!(cause["credited_ms"], credited_ms);
    let span = number(&cause["until_ms"]) - number(&cause["from_ms"]);
    assert_eq!(span, credited_ms, "it ran all the while");
    assert_eq!(update["state"], after);

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
    let (after, _) = credited(cluster.http(), &frozen, &frozen_before, outage).await;
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
    throughout(Duration::from_secs(3), async || {}).await;
    node.resume();
    let outage = began.elapsed();
    credited(&node.http, &frozen, &before, outage).await;
}
