//! A session from creation to deletion, read from another node each time, field by field.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Answer,
    ordered::Ordered,
    sessions::{instant, new_id, new_session, number, participant, session_id, text, with},
    shared::Meeting,
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

const STATE_KEYS: [&str; 14] = [
    "session_id",
    "sync_mode",
    "status",
    "version",
    "participants",
    "active_participant_id",
    "total_time_ms",
    "time_per_cycle_ms",
    "cycle_started_at",
    "session_started_at",
    "session_completed_at",
    "increment_ms",
    "created_at",
    "updated_at",
];
const PARTICIPANT_KEYS: [&str; 8] = [
    "participant_id",
    "participant_index",
    "total_time_ms",
    "time_used_ms",
    "time_remaining_ms",
    "cycle_count",
    "is_active",
    "has_expired",
];
const SWITCH_KEYS: [&str; 6] = [
    "session_id",
    "active_participant_id",
    "cycle_started_at",
    "participants",
    "status",
    "version",
];

/// v2's keys come first and in v2's order.
fn starts_with(object: &Ordered, keys: &[&str]) {
    assert_eq!(&object.keys()[..keys.len()], keys);
}

/// The `data` of an answer, its keys checked.
fn state_of(answer: &Answer) -> Value {
    let body = Ordered::parse(&answer.text);
    assert_eq!(body.keys(), ["data"]);
    let state = Ordered::parse(body.field("data"));
    starts_with(&state, &STATE_KEYS);
    participants_are_in_order(&state);
    for key in ["cycle_started_at", "session_started_at", "session_completed_at"] {
        let value = state.field(key);
        assert!(value == "null" || is_iso(value), "{key}: {value}");
    }
    for key in ["created_at", "updated_at"] {
        assert!(is_iso(state.field(key)), "{key}: {}", state.field(key));
    }
    answer.data()
}

fn participants_are_in_order(object: &Ordered) {
    let all: Vec<Ordered> = serde_json::from_str(object.field("participants")).unwrap();
    for one in &all {
        starts_with(one, &PARTICIPANT_KEYS);
    }
}

/// `"2026-01-31T08:00:00.000Z"`, quotes included.
fn is_iso(value: &str) -> bool {
    let shape: String =
        value.chars().map(|one| if one.is_ascii_digit() { '0' } else { one }).collect();
    shape == "\"0000-00-00T00:00:00.000Z\""
}

struct Walk<'a> {
    cluster: &'a Cluster,
    id: String,
    step: usize,
}

impl Walk<'_> {
    /// Gives a command to one node and reads what came of it from another.
    async fn state_after(&mut self, verb: &str, version: u64) -> Value {
        self.step += 1;
        let answer = self.cluster.any(self.step).command(&self.id, verb).await.expect(200);
        let told = state_of(&answer);
        assert_eq!(told["version"], version, "{verb}: the committed version");
        let read = state_of(&self.cluster.any(self.step + 1).session(&self.id).await.expect(200));
        assert_eq!(read, told, "{verb}: what is told is what is read");
        read
    }

    async fn switch(&mut self, version: u64) -> (Value, Value) {
        self.step += 1;
        let answer = self.cluster.any(self.step).command(&self.id, "switch").await.expect(200);
        let data = Ordered::parse(Ordered::parse(&answer.text).field("data"));
        assert_eq!(data.keys(), SWITCH_KEYS, "nobody is out of time");
        participants_are_in_order(&data);
        let told = answer.data();
        assert_eq!(told["version"], version);
        assert_eq!(told["status"], "running");
        let read = state_of(&self.cluster.any(self.step + 1).session(&self.id).await.expect(200));
        for key in SWITCH_KEYS {
            assert_eq!(read[key], told[key], "{key}");
        }
        (told, read)
    }
}

#[tokio::test]
async fn two_players_a_minute_each() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let (anna, bert) = (participant(&body, 0), participant(&body, 1));
    let id = session_id(&body);
    let created = state_of(&cluster.any(0).create(&body).await.expect(201));
    assert_eq!(state_of(&cluster.any(1).session(&id).await.expect(200)), created);
    pending(&created, &body);

    let mut walk = Walk { cluster: &cluster, id: id.clone(), step: 1 };
    let started = walk.state_after("start", 2).await;
    assert_eq!(started["status"], "running");
    assert_eq!(text(&started["active_participant_id"]), anna);
    assert_eq!(started["participants"][0]["is_active"], true);
    assert_eq!(started["cycle_started_at"], started["session_started_at"]);
    assert_eq!(started["updated_at"], started["cycle_started_at"]);

    let (switched, _) = walk.switch(3).await;
    assert_eq!(text(&switched["active_participant_id"]), bert);
    charged(&switched["participants"][0], &started, &switched["cycle_started_at"], 1);
    assert_eq!(switched["participants"][1]["is_active"], true);
    let (again, read) = walk.switch(4).await;
    assert_eq!(text(&again["active_participant_id"]), anna);
    charged(&again["participants"][1], &switched, &again["cycle_started_at"], 1);

    let paused = walk.state_after("pause", 5).await;
    assert_eq!(paused["status"], "paused");
    assert_eq!(paused["cycle_started_at"], Value::Null);
    assert_eq!(text(&paused["active_participant_id"]), anna, "stays active");
    assert_eq!(paused["participants"][0]["cycle_count"], 1, "a pause ends no cycle");
    let used = number(&paused["participants"][0]["time_used_ms"]);
    assert!(number(&read["participants"][0]["time_used_ms"]) <= used);
    assert_eq!(number(&paused["participants"][0]["total_time_ms"]), 60_000 - used);

    let resumed = walk.state_after("resume", 6).await;
    assert_eq!(resumed["status"], "running");
    assert_eq!(resumed["participants"], paused["participants"]);
    assert_eq!(resumed["cycle_started_at"], resumed["updated_at"]);

    let completed = walk.state_after("complete", 7).await;
    assert_eq!(completed["status"], "completed");
    assert_eq!(completed["active_participant_id"], Value::Null);
    assert_eq!(completed["cycle_started_at"], Value::Null);
    assert_eq!(completed["session_completed_at"], completed["updated_at"]);
    let last = instant(&completed["updated_at"]) - instant(&resumed["cycle_started_at"]);
    let used_in_all = number(&completed["participants"][0]["time_used_ms"]);
    assert_eq!(used_in_all, used + last, "the running cycle is charged");

    let deleted = cluster.any(2).delete(&format!("/v1/sessions/{id}")).await.expect(204);
    assert_eq!(deleted.text, "");
    assert_eq!(deleted.header("content-type"), None);
    for node in &cluster.nodes {
        let gone = node.http.session(&id).await.expect(404).error();
        assert_eq!(gone["code"], "SESSION_NOT_FOUND");
        assert_eq!(gone["message"], format!("Session {id} not found"));
    }
}

fn pending(created: &Value, body: &Value) {
    assert_eq!(created["session_id"], body["session_id"]);
    assert_eq!(created["sync_mode"], "per_participant");
    assert_eq!(created["status"], "pending");
    assert_eq!(created["version"], 1);
    assert_eq!(created["total_time_ms"], 120_000);
    assert_eq!(created["increment_ms"], 0);
    let nulls = [
        "active_participant_id",
        "time_per_cycle_ms",
        "cycle_started_at",
        "session_started_at",
        "session_completed_at",
    ];
    for key in nulls {
        assert_eq!(created[key], Value::Null, "{key}");
    }
    assert_eq!(created["created_at"], created["updated_at"]);
    for absent in ["max_time_ms", "metadata", "groups", "on_timeout"] {
        assert_eq!(created.get(absent), None, "{absent}");
    }
    for (seat, one) in created["participants"].as_array().unwrap().iter().enumerate() {
        assert_eq!(one["participant_index"], seat);
        assert_eq!(one["total_time_ms"], 60_000);
        assert_eq!(one["time_remaining_ms"], 60_000);
        assert_eq!(one["time_used_ms"], 0);
        assert_eq!(one["cycle_count"], 0);
        assert_eq!(one["is_active"], false);
        assert_eq!(one["has_expired"], false);
        assert_eq!(one.get("group_id"), None);
    }
}

/// The participant was charged for the stretch from `before` to `until`, exactly.
fn charged(participant: &Value, before: &Value, until: &Value, cycles: u64) {
    let spent = instant(until) - instant(&before["cycle_started_at"]);
    assert_eq!(number(&participant["time_used_ms"]), spent);
    assert_eq!(number(&participant["total_time_ms"]), 60_000 - spent);
    assert_eq!(participant["time_remaining_ms"], participant["total_time_ms"]);
    assert_eq!(number(&participant["cycle_count"]), cycles);
    assert_eq!(participant["is_active"], false);
}

#[tokio::test]
async fn what_is_given_is_kept() {
    let cluster = CLUSTER.join().await;
    let mut body = new_session("per_group", &[60_000, 60_000]);
    let group = new_id();
    body["participants"][0]["group_id"] = Value::from(group.clone());
    body["participants"][1]["participant_index"] = Value::from(41);
    for (key, value) in [
        ("time_per_cycle_ms", Value::from(5_000)),
        ("increment_ms", Value::from(2_000)),
        ("max_time_ms", Value::from(90_000)),
        ("metadata", serde_json::json!({"room": "blue", "nested": {"a": [1, null, "ü"]}})),
        ("active_participant_id", body["participants"][1]["participant_id"].clone()),
        ("unknown_key", Value::from(true)),
    ] {
        body = with(body, key, value);
    }
    let id = session_id(&body);
    let answer = cluster.any(0).create(&body).await.expect(201);
    let data = Ordered::parse(Ordered::parse(&answer.text).field("data"));
    let mut keys = STATE_KEYS.to_vec();
    keys.insert(12, "max_time_ms");
    starts_with(&data, &keys);
    for key in ["time_per_cycle_ms", "increment_ms", "max_time_ms", "metadata"] {
        assert_eq!(answer.data()[key], body[key], "{key}");
    }
    assert_eq!(answer.data().get("unknown_key"), None);
    assert_eq!(text(&answer.data()["participants"][0]["group_id"]), group);
    assert_eq!(answer.data()["participants"][1]["participant_index"], 41);
    let started = cluster.any(1).command(&id, "start").await.expect(200).data();
    assert_eq!(started["active_participant_id"], body["participants"][1]["participant_id"]);
}

#[tokio::test]
async fn an_increment_is_added_after_each_cycle() {
    let cluster = CLUSTER.join().await;
    let body = with(new_session("per_participant", &[60_000, 60_000]), "increment_ms", 3_000);
    let id = session_id(&body);
    let _ = cluster.any(0).create(&body).await.expect(201);
    let started = cluster.any(1).command(&id, "start").await.expect(200).data();
    let switched = cluster.any(2).command(&id, "switch").await.expect(200).data();
    let spent = instant(&switched["cycle_started_at"]) - instant(&started["cycle_started_at"]);
    let left = number(&switched["participants"][0]["total_time_ms"]);
    assert_eq!(left, 60_000 - spent + 3_000, "so it may exceed the bank given at first");
}

#[tokio::test]
async fn explicit_turns_and_a_turn_to_oneself() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000, 60_000]);
    let (id, last) = (session_id(&body), participant(&body, 2));
    let _ = cluster.any(0).create(&body).await.expect(201);
    let _ = cluster.any(1).command(&id, "start").await.expect(200);
    let jumped = cluster.any(2).switch_to(&id, &last).await.expect(200).data();
    assert_eq!(text(&jumped["active_participant_id"]), last);
    let same = cluster.any(0).switch_to(&id, &last).await.expect(200).data();
    assert_eq!(text(&same["active_participant_id"]), last);
    assert_eq!(same["participants"][2]["cycle_count"], 1);
    let around = cluster.any(1).command(&id, "switch").await.expect(200).data();
    assert_eq!(text(&around["active_participant_id"]), participant(&body, 0));
    let wrong = serde_json::json!({ "current_participant_id": last });
    let path = format!("/v1/sessions/{id}/switch");
    let refused = cluster.any(2).post_json(&path, &wrong).await.expect(409);
    assert_eq!(refused.kind(), "CONCURRENT_MODIFICATION");
}
