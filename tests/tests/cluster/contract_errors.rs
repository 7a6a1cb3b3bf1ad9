//! Every refusal, from every node: code, status, message, details.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use reqwest::Method;
use serde_json::{Value, json};
use synckairos_tests::{
    cluster::Plan,
    http::must,
    ordered::Ordered,
    sessions::{new_id, new_session, participant, session_id, with},
    shared::Meeting,
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

/// The details of a schema failure as `field:code`.
fn issues(error: &Value) -> Vec<String> {
    assert_eq!(error["code"], "VALIDATION_ERROR");
    assert_eq!(error["message"], "Request validation failed");
    let details = error["details"].as_array().unwrap_or_else(|| panic!("no array in {error}"));
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    for one in details {
        assert!(!word(one, "message").is_empty());
    }
    details.iter().map(|one| format!("{}:{}", word(one, "field"), word(one, "code"))).collect()
}

/// `body` with the value at a path of keys and positions replaced.
fn put(mut body: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer: String =
        parent.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect();
    let parent = body.pointer_mut(&pointer).unwrap();
    if let Value::Array(items) = parent {
        items[key.parse::<usize>().unwrap()] = value;
    } else {
        parent[key] = value;
    }
    body
}

fn without(mut body: Value, key: &str) -> Value {
    body.as_object_mut().unwrap().remove(key).unwrap();
    body
}

/// A field of a create body, a value that it must not have, and the complaints as `field:code`.
type Wrong = (&'static str, Value, &'static [&'static str]);

fn wrong_ids() -> Vec<Wrong> {
    let mut table: Vec<Wrong> = [
        "nonsense",
        "11111111-1111-0111-8111-111111111111",
        "11111111-1111-9111-8111-111111111111",
        "11111111-1111-4111-c111-111111111111",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "{11111111-1111-4111-8111-111111111111}",
        "11111111111141118111111111111111",
        " 11111111-1111-4111-8111-111111111111",
    ]
    .into_iter()
    .map(|id| ("session_id", json!(id), &["session_id:invalid_format"][..]))
    .collect();
    table.extend([
        ("session_id", json!(7), &["session_id:invalid_type"][..]),
        ("session_id", json!(null), &["session_id:invalid_type"]),
        ("sync_mode", json!("chess"), &["sync_mode:invalid_value"]),
    ]);
    table
}

#[rustfmt::skip]
fn wrong_participants() -> Vec<Wrong> {
    vec![
        ("participants", json!([]), &["participants:too_small"]),
        ("participants", json!({}), &["participants:invalid_type"]),
        ("participants.0", json!("Anna"), &["participants.0:invalid_type"]),
        ("participants.1.participant_id", json!("Bert"), &["participants.1.participant_id:invalid_format"]),
        ("participants.0.participant_index", json!(-1), &["participants.0.participant_index:too_small"]),
        ("participants.0.participant_index", json!(1.5), &["participants.0.participant_index:invalid_type"]),
        ("participants.0.participant_index", json!("0"), &["participants.0.participant_index:invalid_type"]),
        ("participants.0.total_time_ms", json!(999), &["participants.0.total_time_ms:too_small"]),
        ("participants.0.total_time_ms", json!(86_400_001), &["participants.0.total_time_ms:too_big"]),
        ("participants.0.total_time_ms", json!(true), &["participants.0.total_time_ms:invalid_type"]),
        ("participants.0.group_id", json!("red"), &["participants.0.group_id:invalid_format"]),
        ("participants.0.group_id", json!(null), &["participants.0.group_id:invalid_type"]),
    ]
}

#[rustfmt::skip]
fn wrong_amounts() -> Vec<Wrong> {
    vec![
        ("total_time_ms", json!(0), &["total_time_ms:too_small"]),
        ("total_time_ms", json!(9_007_199_254_740_992_u64), &["total_time_ms:too_big", "total_time_ms:too_big"]),
        ("time_per_cycle_ms", json!(null), &["time_per_cycle_ms:invalid_type"]),
        ("time_per_cycle_ms", json!(999), &["time_per_cycle_ms:too_small"]),
        ("increment_ms", json!(60_001), &["increment_ms:too_big"]),
        ("increment_ms", json!(-1), &["increment_ms:too_small"]),
        ("max_time_ms", json!(86_400_001), &["max_time_ms:too_big"]),
    ]
}

#[rustfmt::skip]
fn wrong_in_v3() -> Vec<Wrong> {
    vec![
        ("metadata", json!("text"), &["metadata:invalid_type"]),
        ("metadata", json!({"text": "x".repeat(17_000)}), &["metadata:too_big"]),
        ("active_participant_id", json!(new_id()), &["active_participant_id:invalid_value"]),
        ("warnings_ms", json!([1, 2, 3, 4, 5, 6, 7, 8, 9]), &["warnings_ms:too_big"]),
        ("warnings_ms", json!([0]), &["warnings_ms.0:too_small"]),
        ("on_timeout", json!({"type": "explode"}), &["on_timeout.type:invalid_value"]),
        ("on_timeout", json!({"type": "auto_action"}), &["on_timeout.action:invalid_type"]),
        ("auto_advance", json!("yes"), &["auto_advance:invalid_type"]),
        ("groups", json!([{"group_id": "red", "total_time_ms": 1}]),
            &["groups.0.group_id:invalid_format", "groups.0.total_time_ms:too_small"]),
    ]
}

#[tokio::test]
async fn a_create_must_have_the_form_it_must_have() {
    let cluster = CLUSTER.join().await;
    let good = || new_session("per_participant", &[60_000, 60_000]);
    let table = [wrong_ids(), wrong_participants(), wrong_amounts(), wrong_in_v3()].concat();
    for (turn, (path, value, expected)) in table.into_iter().enumerate() {
        let body = put(good(), path, value.clone());
        let answer = cluster.any(turn).create(&body).await.expect(400);
        assert_eq!(issues(&answer.error()), expected, "{path} = {value}");
        assert_eq!(answer.error()["retryable"], false);
        assert_eq!(answer.error()["effect"], "none");
    }
    for key in ["session_id", "sync_mode", "participants", "total_time_ms"] {
        let error = cluster.any(0).create(&without(good(), key)).await.expect(400).error();
        let code = if key == "sync_mode" { "invalid_value" } else { "invalid_type" };
        assert_eq!(issues(&error), [format!("{key}:{code}")]);
    }
    let list = cluster.any(1).create(&json!([])).await.expect(400).error();
    assert_eq!(issues(&list), [":invalid_type"]);
}

#[tokio::test]
async fn everything_wrong_is_told_at_once() {
    let cluster = CLUSTER.join().await;
    let mut body = new_session("nonsense", &[1, 60_000]);
    body["session_id"] = json!(1);
    let error = cluster.http().create(&body).await.expect(400).error();
    let expected = [
        "session_id:invalid_type",
        "sync_mode:invalid_value",
        "participants.0.total_time_ms:too_small",
        "total_time_ms:too_small",
    ];
    let mut found = issues(&error);
    found.retain(|one| expected.contains(&one.as_str()));
    assert_eq!(found, expected[..3], "the sum, 60001, is fine");
}

#[tokio::test]
async fn what_v2_accepts_is_accepted() {
    let cluster = CLUSTER.join().await;
    let good = || new_session("per_participant", &[60_000, 60_000]);
    let table = [
        ("session_id", json!(new_id().to_uppercase())),
        ("participants.0.participant_index", json!(7)),
        ("participants.0.total_time_ms", json!(1_000.0)),
        ("participants.0.total_time_ms", json!(1.2e5)),
        ("participants.0.total_time_ms", json!(86_400_000)),
        ("total_time_ms", json!(1_000)),
        ("increment_ms", json!(60_000)),
        ("sync_mode", json!("per_cycle")),
        ("sync_mode", json!("per_group")),
        ("sync_mode", json!("global")),
        ("sync_mode", json!("count_up")),
        ("metadata", json!({})),
        ("nobody_knows_this", json!({"a": 1})),
    ];
    for (turn, (path, value)) in table.into_iter().enumerate() {
        let body = put(good(), path, value);
        let _ = cluster.any(turn).create(&body).await.expect(201);
    }
    for nil_or_max in
        ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
    {
        let _ =
            cluster.http().create(&put(good(), "session_id", json!(nil_or_max))).await.expect(201);
    }
}

#[tokio::test]
async fn participants_are_distinct() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let first = participant(&body, 0);
    let doubled = put(body.clone(), "participants.1.participant_id", json!(first));
    let error = cluster.http().create(&doubled).await.expect(400).error();
    assert_eq!(issues(&error), ["participants.1.participant_id:invalid_value"]);
    // Another spelling is another participant.
    let spelled = put(body, "participants.1.participant_id", json!(first.to_uppercase()));
    let _ = cluster.http().create(&spelled).await.expect(201);
}

#[tokio::test]
async fn bodies_have_bounds() {
    let cluster = CLUSTER.join().await;
    let thousand = new_session("per_participant", &[1_000; 1_000]);
    let thousand = with(thousand, "total_time_ms", 1_000_000);
    let answer = cluster.any(0).create(&thousand).await.expect(201);
    assert_eq!(answer.data()["participants"].as_array().unwrap().len(), 1_000);
    let one_more = with(new_session("per_participant", &[1_000; 1_001]), "total_time_ms", 1_000);
    let error = cluster.any(1).create(&one_more).await.expect(400).error();
    assert_eq!(issues(&error), ["participants:too_big"]);

    let padded = with(new_session("per_participant", &[60_000]), "padding", "x".repeat(1_100_000));
    for path in ["/v1/sessions", "/v1/time"] {
        let request = cluster.any(2).request(Method::POST, path).json(&padded);
        let refused = must(request).await.expect(413);
        assert_eq!(refused.error()["code"], "PAYLOAD_TOO_LARGE");
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_are_the_clients_fault() {
    let cluster = CLUSTER.join().await;
    let id = new_id();
    let paths =
        ["/v1/sessions".to_owned(), format!("/v1/sessions/{id}/start"), "/health".to_owned()];
    for body in ["{", "not json", "null", "7", "\"text\"", "true", "{} {}"] {
        for path in &paths {
            let method = if path == "/health" { Method::GET } else { Method::POST };
            let request = cluster.http().request(method, path);
            let request = request.header("content-type", "application/json").body(body);
            let answer = must(request).await.expect(400);
            assert_eq!(answer.error()["code"], "VALIDATION_ERROR", "{path} {body}");
            assert_eq!(answer.header("ratelimit-limit"), None, "{path} {body}");
        }
    }
    let odd = cluster.http().request(Method::GET, "/v1/sessions/%zz");
    // As in v2: A2 fixes bodies, not escapes.
    assert_eq!(must(odd).await.expect(500).error()["code"], "INTERNAL_ERROR");
}

#[tokio::test]
async fn the_id_in_the_path_is_checked_first() {
    let cluster = CLUSTER.join().await;
    for verb in ["start", "switch", "pause", "resume", "complete"] {
        let path = format!("/v1/sessions/nonsense/{verb}");
        let body = json!({ "next_participant_id": "nonsense" });
        let error = cluster.http().post_json(&path, &body).await.expect(400).error();
        assert_eq!(issues(&error), ["id:invalid_format"], "{verb}");
    }
    for method in [Method::GET, Method::DELETE] {
        let request = cluster.http().request(method, "/v1/sessions/nonsense");
        assert_eq!(issues(&must(request).await.expect(400).error()), ["id:invalid_format"]);
    }
}

#[tokio::test]
async fn a_session_that_is_not_there() {
    let cluster = CLUSTER.join().await;
    let id = new_id();
    for (turn, verb) in ["start", "switch", "pause", "resume", "complete"].into_iter().enumerate() {
        let answer = cluster.any(turn).command(&id, verb).await.expect(404);
        let error = answer.error();
        assert_eq!(error["code"], "SESSION_NOT_FOUND", "{verb}");
        assert_eq!(error["kind"], "SESSION_NOT_FOUND");
        assert_eq!(error["message"], format!("Session {id} not found"));
        assert_eq!(error["context"]["session_id"], id);
        assert_eq!(error.get("details"), None);
        let keys = ["code", "message", "retryable", "kind", "context", "effect"];
        assert_eq!(Ordered::parse(Ordered::parse(&answer.text).field("error")).keys(), keys);
    }
    for turn in 0..3 {
        let _ = cluster.any(turn).session(&id).await.expect(404);
        let _ = cluster.any(turn).delete(&format!("/v1/sessions/{id}")).await.expect(204);
    }
}

#[tokio::test]
async fn a_status_that_does_not_allow_it() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let _ = cluster.http().create(&body).await.expect(201);
    let not = |verb: &str, status: &str| match verb {
        "switch" => format!("Session {id} not running (current status: {status})"),
        "start" => format!("Session {id} cannot be started (current status: {status})"),
        "pause" => format!("Session {id} cannot be paused (current status: {status})"),
        _ => format!("Session {id} cannot be resumed (current status: {status})"),
    };
    let walk: [(&str, &str, &[&str]); 4] = [
        ("", "pending", &["switch", "pause", "resume"]),
        ("start", "running", &["start", "resume"]),
        ("pause", "paused", &["start", "switch", "pause"]),
        ("complete", "completed", &["start", "switch", "pause", "resume"]),
    ];
    for (step, status, refused) in walk {
        if !step.is_empty() {
            let _ = cluster.http().command(&id, step).await.expect(200);
        }
        for (turn, verb) in refused.iter().enumerate() {
            let error = cluster.any(turn).command(&id, verb).await.expect(400).error();
            assert_eq!(error["code"], "INVALID_STATE_TRANSITION", "{verb} while {status}");
            assert_eq!(error["kind"], "INVALID_SESSION_STATE");
            assert_eq!(error["message"], not(verb, status));
            assert_eq!(error["context"]["status"], status);
        }
    }
    let again = cluster.http().command(&id, "complete").await.expect(200).data();
    assert_eq!(again["version"], 5, "completing twice is allowed, as in v2");
}

#[tokio::test]
async fn a_switch_must_name_somebody_who_is_there() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let _ = cluster.http().create(&body).await.expect(201);
    let _ = cluster.http().command(&id, "start").await.expect(200);
    let path = format!("/v1/sessions/{id}/switch");
    for value in [json!(null), json!("Anna"), json!(7)] {
        let answer =
            cluster.http().post_json(&path, &json!({ "next_participant_id": value })).await;
        let found = issues(&answer.expect(400).error());
        assert!(found[0].starts_with("next_participant_id:invalid_"), "{found:?}");
    }
    let stranger = new_id();
    let error = cluster.any(1).switch_to(&id, &stranger).await.expect(400).error();
    assert_eq!(error["code"], "VALIDATION_ERROR");
    assert_eq!(error["kind"], "PARTICIPANT_NOT_FOUND");
    assert_eq!(error["message"], format!("Participant {stranger} not found in session"));
    assert_eq!(error.get("details"), None);
    let shouted = participant(&body, 1).to_uppercase();
    let _ = cluster.any(2).switch_to(&id, &shouted).await.expect(400);
    assert_eq!(cluster.http().state(&id).await["version"], 2, "nothing changed");
}

#[tokio::test]
async fn a_version_that_has_passed_is_a_conflict_on_every_command() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let _ = cluster.http().create(&body).await.expect(201);
    let _ = cluster.http().command(&id, "start").await.expect(200);
    let _ = cluster.http().command(&id, "switch").await.expect(200);
    for (turn, verb) in ["start", "switch", "pause", "resume", "complete"].into_iter().enumerate() {
        let path = format!("/v1/sessions/{id}/{verb}");
        let answer = cluster.any(turn).post_json(&path, &json!({ "expected_version": 2 })).await;
        let error = answer.expect(409).error();
        assert_eq!(error["code"], "CONFLICT", "{verb}");
        assert_eq!(error["message"], "Concurrent modification detected, please retry");
        assert_eq!(error["details"], json!({ "expected_version": 2, "actual_version": 3 }));
        assert_eq!(error["retryable"], true);
        assert_eq!(error["effect"], "none");
        let wrong = cluster.any(turn).post_json(&path, &json!({ "expected_version": "3" })).await;
        assert_eq!(issues(&wrong.expect(400).error()), ["expected_version:invalid_type"], "{verb}");
    }
    let path = format!("/v1/sessions/{id}/pause");
    let right = cluster.http().post_json(&path, &json!({ "expected_version": 3 })).await;
    assert_eq!(right.expect(200).data()["version"], 4);
}

#[tokio::test]
async fn a_session_is_created_once() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000, 60_000]);
    let id = session_id(&body);
    let first = cluster.any(0).create(&body).await.expect(201);
    for turn in 1..4 {
        let again = cluster.any(turn).create(&body).await.expect(201);
        assert_eq!(again.text, first.text, "an identical create of a pending session");
    }
    let other = with(body.clone(), "increment_ms", 1);
    let refused = cluster.any(1).create(&other).await.expect(409).error();
    assert_eq!(refused["code"], "SESSION_EXISTS");
    assert_eq!(refused["context"]["session_id"], id);
    let _ = cluster.any(2).command(&id, "start").await.expect(200);
    let running = cluster.any(0).create(&body).await.expect(409).error();
    assert_eq!(running["code"], "SESSION_EXISTS");
    assert_eq!(cluster.any(1).state(&id).await["status"], "running");
    let _ = cluster.any(2).delete(&format!("/v1/sessions/{id}")).await.expect(204);
    assert_eq!(cluster.any(0).create(&other).await.expect(201).data()["version"], 1);
}
