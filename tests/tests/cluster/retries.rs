//! A request with a key has one effect and one answer, however often it is sent, to whomever, and
//! whoever dies meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use synckairos_client::client::{Client, Config};
use synckairos_protocol::{
    ids::{ParticipantId, SessionId},
    session::SyncMode,
    time::Millis,
    wire::create::SwitchBody,
};
use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::{Answer, Http, must},
    load,
    sessions::{self, new_id, new_session, number, session_id},
    wait::{self, PATIENCE, eventually},
};

const WRITERS: usize = 50;
/// Create, start, and switches.
const WRITES_EACH: usize = 20;
const KILLS: usize = 3;

/// Sends a write to one node after the other until an answer says what came of it.
async fn insist(nodes: &[&Http], first: usize, (path, body): (&str, &Value), key: &str) -> Answer {
    let mut turn = first;
    eventually(PATIENCE, "the write is answered", async || {
        let node = nodes[turn % nodes.len()];
        turn += 1;
        let answer = node.try_post_keyed(path, body, key).await;
        let answer = answer.map_err(|error| error.to_string())?;
        // A node without a leader, or one that does not know what became of the request.
        if answer.status < 500 { Ok(answer) } else { Err(answer.text) }
    })
    .await
}

/// One write, sent two to five times at once and in a row; all answers are equal.
async fn write(nodes: &[&Http], number: usize, request: (&str, &Value), status: u16) {
    let (key, times) = (new_id(), 2 + number % 4);
    let together = (1..times).map(|turn| insist(nodes, number + turn, request, &key));
    let mut answers = join_all(together).await;
    answers.push(insist(nodes, number, request, &key).await);
    for answer in &answers {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.text, answers[0].text, "write {number}, sent {times} times");
    }
}

/// Makes a session and plays in it; every write is counted in `done`.
async fn play(nodes: &[&Http], writer: usize, done: &AtomicUsize) -> String {
    let body = new_session("per_participant", &[3_600_000, 3_600_000]);
    let id = session_id(&body);
    for turn in 0..WRITES_EACH {
        let number = writer * WRITES_EACH + turn;
        let path = |verb: &str| format!("/v1/sessions/{id}/{verb}");
        match turn {
            0 => write(nodes, number, ("/v1/sessions", &body), 201).await,
            1 => write(nodes, number, (&path("start"), &Value::Null), 200).await,
            _ => write(nodes, number, (&path("switch"), &Value::Null), 200).await,
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    id
}

/// Kills whoever leads, `KILLS` times, each when another part of `writes` is done.
async fn kill_leaders(cluster: &Cluster, writes: usize, done: &AtomicUsize) {
    for kill in 1..=KILLS {
        let from = writes * kill / (KILLS + 2);
        let leader = cluster.leader().await;
        eventually(PATIENCE, "writes are done", async || {
            let done = done.load(Ordering::Relaxed);
            if from <= done { Ok(()) } else { Err(done.to_string()) }
        })
        .await;
        leader.kill();
        let rest: Vec<u64> =
            cluster.nodes.iter().map(|node| node.id).filter(|id| *id != leader.id).collect();
        cluster.leader_of(&rest).await;
        leader.start();
        leader.await_ready().await;
        cluster.await_caught_up(leader, PATIENCE).await;
    }
}

#[tokio::test]
async fn a_thousand_writes_sent_again_and_again_have_a_thousand_effects() {
    let cluster = Plan::of(3).start().await;
    let nodes: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let done = AtomicUsize::new(0);
    let writers = join_all((0..WRITERS).map(|writer| play(&nodes, writer, &done)));
    let killer = kill_leaders(&cluster, WRITERS * WRITES_EACH, &done);
    let (ids, ()) = join(writers, killer).await;
    assert_eq!(done.load(Ordering::Relaxed), WRITERS * WRITES_EACH);
    let mut effects = 0;
    for id in &ids {
        let state = cluster.http().state(id).await;
        let (version, switches) = (number(&state["version"]), sessions::cycles(&state));
        assert_eq!(version, 2 + switches, "{state}");
        effects += version;
    }
    assert_eq!(effects, u64::try_from(WRITERS * WRITES_EACH).unwrap());
}

#[tokio::test]
async fn an_answer_outlives_its_leader_and_every_process() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    let (switch, complete) =
        (format!("/v1/sessions/{session}/switch"), format!("/v1/sessions/{session}/complete"));
    let missing = new_session("per_participant", &[60_000]);
    let start = format!("/v1/sessions/{}/start", session_id(&missing));
    let requests = [
        (switch.as_str(), json!({}), "k-1", 200),
        (switch.as_str(), json!({"expected_version": 2}), "k-2", 409),
        (start.as_str(), Value::Null, "k-3", 404),
        (switch.as_str(), json!({"next_participant_id": new_id()}), "k-4", 400),
        (complete.as_str(), Value::Null, "k-5", 200),
    ];
    let mut first = Vec::new();
    for (turn, (path, body, key, status)) in requests.iter().enumerate() {
        first.push(cluster.any(turn).post_keyed(path, body, key).await.expect(*status));
    }
    // What was refused then could be done now; its answer stays what it was.
    let _ = cluster.http().create(&missing).await.expect(201);
    for node in &cluster.nodes {
        node.kill();
    }
    for node in &cluster.nodes {
        node.start();
    }
    cluster.await_ready().await;
    for (turn, ((path, body, key, _), first)) in requests.iter().zip(&first).enumerate() {
        let again = cluster.any(turn + 1).post_keyed(path, body, &format!("\"{key}\"")).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{key}");
    }
    assert_eq!(cluster.http().state(&session).await["version"], 4);

    let reused = cluster.http().post_keyed(&complete, &Value::Null, "k-1").await.expect(422);
    let error = reused.error();
    assert_eq!(error["code"], "IDEMPOTENCY_KEY_REUSED", "{error}");
    assert_eq!((&error["retryable"], &error["effect"]), (&json!(false), &json!("none")));
}

#[tokio::test]
async fn creates_deletes_and_batches_have_keys_too() {
    let cluster = Plan::of(3).start().await;
    let body = new_session("per_participant", &[60_000]);
    let id = session_id(&body);
    let created = cluster.any(0).post_keyed("/v1/sessions", &body, "c").await.expect(201);
    let delete = async |turn: usize, key: &str| {
        let path = format!("/v1/sessions/{id}");
        let request = cluster.any(turn).request(Method::DELETE, &path);
        must(request.header("idempotency-key", key)).await.expect(204)
    };
    let _ = delete(1, "d").await;
    let again = cluster.any(2).post_keyed("/v1/sessions", &body, "c").await.expect(201);
    assert_eq!(again.text, created.text);
    assert_eq!(cluster.http().session(&id).await.status, 404, "answered, and not made again");
    let _ = cluster.any(0).post_keyed("/v1/sessions", &body, "c-2").await.expect(201);
    let _ = delete(2, "d").await;
    assert_eq!(cluster.http().session(&id).await.status, 200, "answered, and not deleted again");

    let running = load::running_session(cluster.http()).await;
    let commands = json!({"commands": [
        {"action": "switch", "session_id": running},
        {"action": "pause", "session_id": running},
    ]});
    let first = cluster.any(1).post_keyed("/v1/batch", &commands, "b").await.expect(200);
    let again = cluster.any(2).post_keyed("/v1/batch", &commands, "b").await.expect(200);
    assert_eq!(again.text, first.text);
    assert_eq!(cluster.http().state(&running).await["version"], 4);

    for key in ["", "a b", "\"open", &"k".repeat(256)] {
        let wrong = cluster.http().post_keyed("/v1/batch", &commands, key).await.expect(400);
        assert_eq!(wrong.error()["details"][0]["field"], "Idempotency-Key", "{key}");
    }
}

#[tokio::test]
async fn the_client_needs_nobody_to_look_after_its_retries() {
    const SWITCHES: u64 = 300;
    let cluster = Plan::of(3).start().await;
    let nodes = cluster.nodes.iter().map(|node| format!("http://{}", node.address));
    let client = Client::new(Config::new(nodes)).unwrap();
    let session: SessionId = new_id().parse().unwrap();
    let players: [ParticipantId; 2] = [new_id().parse().unwrap(), new_id().parse().unwrap()];
    let banks = players.map(|player| (player, Millis::new(3_600_000)));
    let new = synckairos_client::requests::new_session(session, SyncMode::PerParticipant, &banks);
    client.create(&new).await.unwrap();
    client.start(session, None).await.unwrap();
    let done = AtomicUsize::new(0);
    let switching = async {
        for number in 1..=SWITCHES {
            let switched = client.switch(session, SwitchBody::default()).await.unwrap();
            assert_eq!(switched.version, 2 + number, "each once, whatever was lost on the way");
            done.fetch_add(1, Ordering::Relaxed);
            wait::pass(Duration::from_millis(5)).await;
        }
    };
    let killer = kill_leaders(&cluster, usize::try_from(SWITCHES).unwrap(), &done);
    join(switching, killer).await;
    assert_eq!(client.get(session).await.unwrap().version, 2 + SWITCHES);
}
