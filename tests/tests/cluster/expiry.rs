//! Clocks run out by themselves, at the exact millisecond, and everybody is told the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use synckairos_tests::{
    cluster::{Cluster, Plan},
    sessions::{self, instant, new_session, number, participant, session_id, text, with},
    shared::{Meeting, Shared},
    socket::Socket,
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

/// A started session and a socket that watches it on each node.
struct Watched {
    cluster: Shared,
    id: String,
    started: Value,
    sockets: Vec<Socket>,
}

impl Watched {
    async fn start(body: &Value) -> Self {
        let cluster = CLUSTER.join().await;
        let id = session_id(body);
        let mut sockets = Vec::new();
        // Before the session exists: a node may apply its creation after others have answered.
        for node in &cluster.nodes {
            sockets.push(node.watch(&id).await);
        }
        let _ = cluster.http().create(body).await.expect(201);
        let mut watched = Self { cluster, id, started: Value::Null, sockets };
        let update = watched.same_push("STATE_UPDATE").await;
        assert_eq!(update["cause"]["type"], "created");
        let start = watched.cluster.any(1).command(&watched.id, "start").await;
        watched.started = start.expect(200).data();
        let update = watched.same_push("STATE_UPDATE").await;
        assert_eq!(update["cause"]["type"], "started");
        assert_eq!(update["state"], watched.started, "the push has what the caller was told");
        watched
    }

    fn started_at(&self) -> u64 {
        instant(&self.started["cycle_started_at"])
    }

    /// The next message of every socket, which are all the same but for when they were sent.
    async fn same_push(&mut self, kind: &str) -> Value {
        let mut first: Option<Value> = None;
        for socket in &mut self.sockets {
            let mut message = socket.expect(kind).await;
            let fields = message.as_object_mut().unwrap();
            fields.remove("timestamp").unwrap();
            fields.remove("server_time_ms").unwrap();
            assert_eq!(first.get_or_insert_with(|| message.clone()), &message);
        }
        first.unwrap()
    }

    /// The push of an expiry, which happened at `due`.
    async fn expiry(&mut self, kind: &str, due: u64) -> Value {
        let update = self.same_push("STATE_UPDATE").await;
        assert_eq!(update["cause"]["type"], kind, "{update}");
        assert_eq!(update["cause"]["due_ms"], due, "{update}");
        assert_eq!(instant(&update["state"]["updated_at"]), due, "{update}");
        let state = get_everywhere(&self.cluster, &self.id).await;
        assert_eq!(state, update["state"], "what is pushed is what is read");
        update
    }
}

async fn get_everywhere(cluster: &Cluster, id: &str) -> Value {
    let state = cluster.http().state(id).await;
    for node in &cluster.nodes {
        assert_eq!(node.http.state(id).await, state, "node {}", node.id);
    }
    state
}

#[tokio::test]
async fn per_participant_runs_on_and_counts_overtime() {
    let body = new_session("per_participant", &[1_500, 60_000]);
    let mut watched = Watched::start(&body).await;
    assert_eq!(number(&watched.started["deadline_ms"]), watched.started_at() + 1_500);
    let due = watched.started_at() + 1_500;
    let update = watched.expiry("participant_expired", due).await;
    assert_eq!(update["cause"]["reason"], "timeout");
    assert_eq!(text(&update["cause"]["participant_id"]), participant(&body, 0));
    let state = &update["state"];
    assert_eq!(state["status"], "running");
    assert_eq!(state["version"], 3);
    let expired = &state["participants"][0];
    assert_eq!(expired["has_expired"], true);
    assert_eq!(expired["time_remaining_ms"], 0);
    assert_eq!(expired["time_used_ms"], 1_500);
    assert_eq!(instant(&expired["expired_at"]), due);
    assert_eq!(state["active_participant_id"], body["participants"][0]["participant_id"]);

    // v2's clients learn of it at the next switch, and overtime is counted.
    let cluster = &watched.cluster;
    let switched = cluster.any(2).command(&watched.id, "switch").await.expect(200).data();
    assert_eq!(text(&switched["expired_participant_id"]), participant(&body, 0));
    let used = number(&switched["participants"][0]["time_used_ms"]);
    assert_eq!(used, instant(&switched["cycle_started_at"]) - watched.started_at());
    assert_eq!(switched["participants"][0]["total_time_ms"], 0);
    assert_eq!(switched["participants"][0]["cycle_count"], 1);
}

#[tokio::test]
async fn per_cycle_clears_the_mark_with_the_next_cycle() {
    let body = with(new_session("per_cycle", &[60_000, 60_000]), "time_per_cycle_ms", 1_200);
    let mut watched = Watched::start(&body).await;
    let due = watched.started_at() + 1_200;
    let update = watched.expiry("participant_expired", due).await;
    assert_eq!(update["state"]["participants"][0]["has_expired"], true);
    assert_eq!(update["state"]["participants"][0]["total_time_ms"], 60_000, "banks are untouched");

    let cluster = &watched.cluster;
    let first = participant(&body, 0);
    let _ = cluster.http().command(&watched.id, "switch").await.expect(200);
    let back = cluster.http().switch_to(&watched.id, &first).await.expect(200).data();
    assert_eq!(back["participants"][0]["has_expired"], false);
}

#[tokio::test]
async fn auto_advance_passes_the_turn_at_each_deadline() {
    let body = with(new_session("per_cycle", &[60_000; 3]), "time_per_cycle_ms", 1_000);
    let mut watched = Watched::start(&with(body.clone(), "auto_advance", true)).await;
    for turn in 1..=2u64 {
        let due = watched.started_at() + turn * 1_000;
        let update = watched.expiry("cycle_skipped", due).await;
        assert_eq!(update["cause"]["reason"], "auto", "{update}");
        assert_eq!(instant(&update["state"]["cycle_started_at"]), due, "{update}");
        let seat = usize::try_from(turn).unwrap();
        assert_eq!(text(&update["state"]["active_participant_id"]), participant(&body, seat));
    }
    // Somebody acts, so the round goes on past the end of the array.
    let _ = watched.cluster.http().command(&watched.id, "switch").await.expect(200);
    let switched = watched.same_push("STATE_UPDATE").await;
    let restarted = instant(&switched["state"]["cycle_started_at"]);
    assert_eq!(switched["state"]["participants"][0]["has_expired"], false, "a fresh cycle");
    let _ = watched.expiry("cycle_skipped", restarted + 1_000).await;
    // Nobody acts for a whole round: nobody is left.
    let update = watched.same_push("STATE_UPDATE").await;
    assert!(
        ["cycle_skipped", "session_expired"].contains(&text(&update["cause"]["type"]).as_str())
    );
}

#[tokio::test]
async fn per_group_draws_on_the_bank_of_the_group() {
    let (red, blue) = (sessions::new_id(), sessions::new_id());
    let mut body = new_session("per_group", &[60_000, 60_000, 60_000]);
    for (seat, group) in [(0, &red), (1, &red), (2, &blue)] {
        body["participants"][seat]["group_id"] = json!(group);
    }
    body["groups"] = json!([
        { "group_id": red, "total_time_ms": 1_500 },
        { "group_id": blue, "total_time_ms": 9_000 },
    ]);
    let mut watched = Watched::start(&body).await;
    assert_eq!(watched.started["participants"][1]["time_remaining_ms"], 1_500);
    let due = watched.started_at() + 1_500;
    // The turn passes within the group: the clock is the same.
    let _ = watched.cluster.http().command(&watched.id, "switch").await.expect(200);
    let _ = watched.same_push("STATE_UPDATE").await;
    let update = watched.expiry("participant_expired", due).await;
    for (seat, expired) in [(0, true), (1, true), (2, false)] {
        assert_eq!(update["state"]["participants"][seat]["has_expired"], expired, "{update}");
    }
}

#[tokio::test]
async fn global_ends_the_session_whoever_is_active() {
    let body = with(new_session("global", &[60_000, 60_000]), "total_time_ms", 1_500);
    let mut watched = Watched::start(&body).await;
    let due = watched.started_at() + 1_500;
    let _ = watched.cluster.any(2).command(&watched.id, "switch").await.expect(200);
    let _ = watched.same_push("STATE_UPDATE").await;
    let update = watched.expiry("session_expired", due).await;
    let state = &update["state"];
    assert_eq!(state["status"], "expired");
    assert_eq!(state["active_participant_id"], Value::Null);
    assert_eq!(instant(&state["expired_at"]), due);
    too_late(&watched, due).await;
}

/// A switch after the end says when the end was.
async fn too_late(watched: &Watched, due: u64) {
    for node in &watched.cluster.nodes {
        let refused = node.http.command(&watched.id, "switch").await.expect(400).error();
        assert_eq!(refused["code"], "INVALID_STATE_TRANSITION");
        assert_eq!(refused["kind"], "PARTICIPANT_EXPIRED");
        assert_eq!(refused["context"]["expired_at_ms"], due);
        assert_eq!(refused["effect"], "none");
    }
}

#[tokio::test]
async fn count_up_stops_at_its_ceiling() {
    let body = with(new_session("count_up", &[60_000]), "max_time_ms", 1_500);
    let mut watched = Watched::start(&body).await;
    let due = watched.started_at() + 1_500;
    let update = watched.expiry("session_expired", due).await;
    assert_eq!(update["state"]["status"], "expired");
    assert_eq!(update["state"]["elapsed_ms"], 1_500);
    assert_eq!(update["state"]["participants"][0]["time_used_ms"], 1_500);
}

#[tokio::test]
async fn on_timeout_chooses_what_happens() {
    let table = [
        (json!({"type": "notify"}), "participant_expired", "running", 0),
        (json!({"type": "skip_cycle"}), "cycle_skipped", "running", 1),
        (json!({"type": "end_session"}), "session_expired", "expired", 0),
        (json!({"type": "auto_action", "action": "fold"}), "participant_expired", "running", 0),
    ];
    for (rule, kind, status, active) in table {
        let body = new_session("per_participant", &[1_000, 60_000]);
        let mut watched = Watched::start(&with(body.clone(), "on_timeout", rule.clone())).await;
        let due = watched.started_at() + 1_000;
        let update = watched.expiry(kind, due).await;
        assert_eq!(update["state"]["status"], status, "{rule}");
        assert_eq!(update["state"]["on_timeout"], rule);
        assert_eq!(update["cause"].get("action"), rule.get("action"), "{update}");
        if status == "running" {
            let expected = participant(&body, active);
            assert_eq!(text(&update["state"]["active_participant_id"]), expected, "{rule}");
        } else {
            too_late(&watched, due).await;
        }
    }
}

#[tokio::test]
async fn v2s_name_for_the_rule_is_understood() {
    let rule = json!({"type": "end_session"});
    let body = with(new_session("per_participant", &[1_000, 60_000]), "action_on_timeout", rule);
    let mut watched = Watched::start(&body).await;
    let due = watched.started_at() + 1_000;
    watched.expiry("session_expired", due).await;
}

#[tokio::test]
async fn warnings_come_before_the_end() {
    let body = with(
        new_session("per_participant", &[2_000, 60_000]),
        "warnings_ms",
        json!([500, 1_000, 5_000]),
    );
    let mut watched = Watched::start(&body).await;
    let due = watched.started_at() + 2_000;
    for threshold in [1_000, 500] {
        let warning = watched.same_push("WARNING").await;
        assert_eq!(warning["threshold_ms"], threshold, "{warning}");
        assert_eq!(warning["at_ms"], due - threshold, "{warning}");
        assert_eq!(text(&warning["participant_id"]), participant(&body, 0));
        assert_eq!(warning["version"], 2, "a warning is no new version");
    }
    watched.expiry("participant_expired", due).await;
}

#[tokio::test]
async fn a_paused_clock_does_not_run_out() {
    let body = new_session("per_participant", &[1_000, 60_000]);
    let mut watched = Watched::start(&body).await;
    let paused = watched.cluster.any(1).command(&watched.id, "pause").await.expect(200).data();
    let _ = watched.same_push("STATE_UPDATE").await;
    let left = number(&paused["participants"][0]["time_remaining_ms"]);
    assert_eq!(paused["deadline_ms"], Value::Null);
    // Another clock that runs out meanwhile shows that time passed.
    let mut other = Watched::start(&new_session("per_participant", &[1_500, 60_000])).await;
    let due = other.started_at() + 1_500;
    other.expiry("participant_expired", due).await;
    let resumed = watched.cluster.any(2).command(&watched.id, "resume").await.expect(200).data();
    let _ = watched.same_push("STATE_UPDATE").await;
    let due = instant(&resumed["cycle_started_at"]) + left;
    watched.expiry("participant_expired", due).await;
}
