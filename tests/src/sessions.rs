//! Bodies of requests, and reading of states.

use serde_json::{Value, json};

/// A session with one participant for each bank (milliseconds) and ids never used before.
pub fn new_session(mode: &str, banks: &[u64]) -> Value {
    let participants: Vec<Value> = banks
        .iter()
        .enumerate()
        .map(|(index, bank)| {
            json!({
                "participant_id": new_id(),
                "participant_index": index,
                "total_time_ms": bank,
            })
        })
        .collect();
    json!({
        "session_id": new_id(),
        "sync_mode": mode,
        "participants": participants,
        "total_time_ms": banks.iter().sum::<u64>(),
    })
}

pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `body` with one more field.
///
/// # Panics
/// Where `body` is no object.
#[must_use]
pub fn with(mut body: Value, key: &str, value: impl Into<Value>) -> Value {
    body.as_object_mut().expect("a body is an object").insert(key.to_owned(), value.into());
    body
}

/// # Panics
/// Where the body has none.
#[track_caller]
pub fn session_id(body: &Value) -> String {
    text(&body["session_id"])
}

/// The id of the participant at `seat`, in a create body or a state.
///
/// # Panics
/// Where there is none.
#[track_caller]
pub fn participant(body: &Value, seat: usize) -> String {
    text(&body["participants"][seat]["participant_id"])
}

/// # Panics
/// Where it is no string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

/// # Panics
/// Where it is no whole number.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

/// Milliseconds since the Unix epoch of an ISO 8601 instant.
///
/// # Panics
/// Where it is none.
#[track_caller]
pub fn instant(value: &Value) -> u64 {
    let stamp = synckairos_protocol::time::Stamp::from_iso(&text(value));
    stamp.unwrap_or_else(|| panic!("{value} is no instant")).unix_millis()
}

/// How many cycles were finished, over all participants: the number of switches applied.
///
/// # Panics
/// Where the state has no participants.
#[track_caller]
pub fn cycles(state: &Value) -> u64 {
    let participants = state["participants"].as_array().expect("a state has participants");
    participants.iter().map(|one| number(&one["cycle_count"])).sum()
}

/// A pushed message without what depends on when and where it was sent.
///
/// # Panics
/// Where it is no object.
#[track_caller]
pub fn content(message: &Value) -> Value {
    let mut content = message.clone();
    let fields = content.as_object_mut().expect("a message is an object");
    fields.remove("timestamp");
    fields.remove("server_time_ms");
    content
}
