//! Requests and answers in a few words.

use serde_json::Value;

use super::numbers;
use crate::history::{op::Failure, pair::Outcome};

/// A longer value is cut.
const MOST: usize = 120;
/// Of a list, as many are named.
const NAMED: usize = 8;

/// The beginning of a long identifier.
pub(crate) fn id(id: &str) -> String {
    let is_uuid = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_uuid { id.chars().take(8).collect() } else { numbers::short(id, 24) }
}

/// A request's body, or an answer.
pub(crate) fn value(value: &Value) -> String {
    let words = match value {
        Value::Null => String::new(),
        Value::Array(results) => listed(results),
        Value::Object(_) if value["version"].is_u64() => state(value),
        Value::Object(_) if value["data"].is_object() => {
            format!("{}{}", state(&value["data"]), revision(value))
        }
        Value::Object(_) if value["data"].is_array() => page(value),
        Value::Object(_) if value["commands"].is_array() => commands(value),
        Value::Object(_) if value["sync_mode"].is_string() => creation(value),
        Value::Object(_) if value["expected_version"].is_u64() => expectation(value),
        Value::Object(_) if value["timestamp_ms"].is_u64() => {
            format!("{} ms", value["timestamp_ms"])
        }
        other => other.to_string(),
    };
    numbers::short(&words, MOST)
}

/// Why there is no good answer.
pub(crate) fn failure(error: &Failure) -> String {
    let versions = &error.details;
    let mut words = error.kind.clone();
    if let (Some(expected), Some(actual)) =
        (versions["expected_version"].as_u64(), versions["actual_version"].as_u64())
    {
        words.push_str(&format!(" (expected v{expected}, is v{actual})"));
    }
    numbers::short(&words, MOST)
}

/// What came of an operation.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok { value: answer, .. } => value(answer),
        Outcome::Fail { error, .. } | Outcome::Info { error } => failure(error),
    }
}

/// `v5 running`.
fn state(state: &Value) -> String {
    let status = state["status"].as_str().unwrap_or_default();
    let active = state["active_participant_id"].as_str();
    let active = active.map(|participant| format!(" {}", id(participant))).unwrap_or_default();
    format!("v{} {status}{active}", state["version"])
}

fn revision(answer: &Value) -> String {
    answer["revision"].as_u64().map(|revision| format!(" at r{revision}")).unwrap_or_default()
}

fn page(page: &Value) -> String {
    let number = page["data"].as_array().map_or(0, Vec::len);
    let more = if page["next_cursor"].is_null() { "" } else { ", and more" };
    format!("{}{}{more}", numbers::counted(number, "session"), revision(page))
}

fn listed(results: &[Value]) -> String {
    let word = |result: &Value| match result["version"].as_u64() {
        Some(version) => {
            format!("{} v{version}", id(result["session_id"].as_str().unwrap_or_default()))
        }
        None => numbers::short(&result.to_string(), 24),
    };
    some(results, word)
}

fn commands(request: &Value) -> String {
    let word = |command: &Value| {
        let text = |key: &str| command[key].as_str().unwrap_or_default();
        let expects = command["expected_version"].as_u64();
        let expects = expects.map(|version| format!(" at v{version}")).unwrap_or_default();
        format!("{} {}{expects}", text("action"), id(text("session_id")))
    };
    some(request["commands"].as_array().map_or(&[], Vec::as_slice), word)
}

fn some(values: &[Value], word: impl Fn(&Value) -> String) -> String {
    let mut words: Vec<String> = values.iter().take(NAMED).map(word).collect();
    if NAMED < values.len() {
        words.push(format!("and {} more", values.len() - NAMED));
    }
    words.join(", ")
}

fn creation(request: &Value) -> String {
    let participants = request["participants"].as_array().map_or(0, Vec::len);
    let mode = request["sync_mode"].as_str().unwrap_or_default();
    format!("{mode}, {}", numbers::counted(participants, "participant"))
}

fn expectation(request: &Value) -> String {
    let next = request["next_participant_id"].as_str();
    let next = next.map(|participant| format!(", next {}", id(participant))).unwrap_or_default();
    format!("at v{}{next}", request["expected_version"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_said_in_a_few_words() {
        let uuid = "4310306b-e33f-434c-9152-35ce1f005884";
        let cases = [
            (Value::Null, ""),
            (
                json!({"version": 5, "status": "running", "active_participant_id": uuid}),
                "v5 running 4310306b",
            ),
            (json!({"version": 1, "status": "pending"}), "v1 pending"),
            (
                json!({"revision": 81, "data": {"version": 2, "status": "paused"}}),
                "v2 paused at r81",
            ),
            (
                json!({"data": [1, 2], "next_cursor": "x", "revision": 7}),
                "2 sessions at r7, and more",
            ),
            (json!({"data": [1], "next_cursor": null}), "1 session"),
            (json!([{"session_id": uuid, "version": 3}, null]), "4310306b v3, null"),
            (
                json!({"commands": [{"action": "start", "session_id": "s", "expected_version": 1}]}),
                "start s at v1",
            ),
            (json!({"sync_mode": "global", "participants": [1, 2]}), "global, 2 participants"),
            (json!({"expected_version": 4, "next_participant_id": "p2"}), "at v4, next p2"),
            (json!({"timestamp_ms": 17}), "17 ms"),
            (json!({"limit": 7}), "{\"limit\":7}"),
            (json!("a\nb"), "\"a\\nb\""),
        ];
        for (given, words) in cases {
            assert_eq!(value(&given), words);
        }
        assert_eq!(value(&json!(vec![0; 9])), "0, 0, 0, 0, 0, 0, 0, 0, and 1 more");
        assert!(value(&json!("x".repeat(500))).chars().count() <= MOST);
    }

    #[test]
    fn failures_name_their_kind_and_the_versions() {
        let mut error = Failure { kind: String::from("CUT"), ..Failure::default() };
        assert_eq!(failure(&error), "CUT");
        error.details = json!({"expected_version": 0, "actual_version": 1});
        assert_eq!(outcome(&Outcome::Info { error }), "CUT (expected v0, is v1)");
    }
}
