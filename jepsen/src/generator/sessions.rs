//! Bodies of new sessions.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// How a new session is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub mode: &'static str,
    pub participants: usize,
    /// Of each bank, cycle or countdown.
    pub time_ms: u64,
}

pub const MODES: [&str; 5] = ["per_participant", "per_cycle", "per_group", "global", "count_up"];

/// A session id, or a participant's.
pub fn id(random: &mut ChaCha8Rng) -> String {
    uuid::Builder::from_random_bytes(random.random()).into_uuid().to_string()
}

/// The plainest session: banks so large that nothing falls due.
pub fn plain(participants: usize, random: &mut ChaCha8Rng) -> Value {
    body(Wish { mode: "per_participant", participants, time_ms: 36_000_000 }, random)
}

/// A session with whatever a session may have.
pub fn any(time_ms: (u64, u64), random: &mut ChaCha8Rng) -> Value {
    let mode = MODES.choose(random).copied().unwrap_or(MODES[0]);
    let time_ms = random.random_range(time_ms.0..=time_ms.1);
    let participants = random.random_range(1..=4);
    let mut body = body(Wish { mode, participants, time_ms }, random);
    if random.random_bool(0.4) {
        body["increment_ms"] = json!(random.random_range(0..=900));
    }
    if random.random_bool(0.7) {
        body["on_timeout"] = timeout(random);
    }
    if mode == "per_cycle" && random.random_bool(0.3) {
        body["auto_advance"] = json!(true);
    }
    if random.random_bool(0.3) {
        body["warnings_ms"] = json!([time_ms / 2, time_ms / 4]);
    }
    if random.random_bool(0.25) {
        body["on_outage"] = json!("freeze");
    }
    if random.random_bool(0.3) {
        body["metadata"] = json!({"table": random.random_range(1..=99), "note": "<\u{e9}&\"'>"});
    }
    if random.random_bool(0.3) {
        let seat = random.random_range(0..participants);
        let first = body["participants"][seat]["participant_id"].clone();
        body["active_participant_id"] = first;
    }
    body
}

fn timeout(random: &mut ChaCha8Rng) -> Value {
    match random.random_range(0..4_u8) {
        0 => json!({"type": "notify"}),
        1 => json!({"type": "skip_cycle"}),
        2 => json!({"type": "end_session"}),
        _ => json!({"type": "auto_action", "action": "fold"}),
    }
}

/// A session as wished, and nothing that was not.
pub fn body(wish: Wish, random: &mut ChaCha8Rng) -> Value {
    let Wish { mode, participants, time_ms } = wish;
    let groups: Vec<String> = (0..2).map(|_| id(random)).collect();
    let seats: Vec<Value> = (0..participants)
        .map(|seat| {
            let mut participant = json!({
                "participant_id": id(random), "participant_index": seat, "total_time_ms": time_ms,
            });
            if mode == "per_group" {
                participant["group_id"] = json!(groups[seat % groups.len()]);
            }
            participant
        })
        .collect();
    let total = match mode {
        "global" => time_ms,
        _ => 36_000_000,
    };
    let mut body = json!({
        "session_id": id(random), "sync_mode": mode, "participants": seats, "total_time_ms": total,
    });
    match mode {
        "per_cycle" => body["time_per_cycle_ms"] = json!(time_ms),
        "count_up" => body["max_time_ms"] = json!(time_ms),
        "per_group" if random.random_bool(0.5) => {
            let used = participants.min(groups.len());
            let group = |group: &String| json!({"group_id": group, "total_time_ms": time_ms});
            body["groups"] = groups.iter().take(used).map(group).collect();
        }
        _ => {}
    }
    body
}
