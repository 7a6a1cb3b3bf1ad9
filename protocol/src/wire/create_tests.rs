//! Tables of bodies and what is wrong with them.

use serde_json::{Value, json};

use super::*;

const SESSION: &str = "123e4567-e89b-12d3-a456-426614174000";
const ALICE: &str = "223e4567-e89b-12d3-a456-426614174001";
const BOB: &str = "223e4567-e89b-12d3-a456-426614174002";
const TEAM: &str = "323e4567-e89b-12d3-a456-426614174009";

fn parse_create(body: &Value) -> Result<NewSession, Vec<FieldIssue>> {
    super::parse_create(body).map(|(new, _)| new)
}

fn valid() -> Value {
    json!({
        "session_id": SESSION,
        "sync_mode": "per_participant",
        "participants": [
            {"participant_id": ALICE, "participant_index": 0, "total_time_ms": 60_000},
            {"participant_id": BOB, "participant_index": 1, "total_time_ms": 60_000},
        ],
        "total_time_ms": 120_000,
    })
}

/// `valid()` with the value at `pointer` replaced, added, or removed.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut body = valid();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let object = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(String::from(key), value),
        None => object.remove(key),
    };
    body
}

/// `field code` for each issue.
fn complaints<T: std::fmt::Debug>(result: Result<T, Vec<FieldIssue>>) -> String {
    let word = |issue: FieldIssue| {
        format!("{} {}", issue.field, serde_json::to_value(issue.code).unwrap().as_str().unwrap())
    };
    let issues = result.err().unwrap_or_default();
    issues.into_iter().map(word).collect::<Vec<_>>().join("; ")
}

/// `valid()` with that value at `pointer` has exactly these complaints; where it has none, the
/// machine's own rules hold too.
fn check(pointer: &str, value: Option<Value>, expected: &str) {
    let case = format!("{pointer} {value:?}");
    let result = parse_create(&with(pointer, value));
    if let Ok(new) = &result {
        assert_eq!(new.broken_rule(), None, "{case}");
    }
    assert_eq!(complaints(result), expected, "{case}");
}

#[test]
fn a_minimal_body_takes_the_defaults() {
    let new = parse_create(&valid()).unwrap();
    assert_eq!(new.mode, SyncMode::PerParticipant);
    assert_eq!(new.participants.len(), 2);
    assert_eq!(new.increment, Millis::ZERO);
    assert_eq!(new.first, None);
    assert_eq!(new.broken_rule(), None);
}

#[test]
fn each_field_has_its_rule() {
    let table = [
        ("/session_id", None, "session_id invalid_type"),
        ("/session_id", Some(json!("nope")), "session_id invalid_format"),
        ("/session_id", Some(json!(7)), "session_id invalid_type"),
        ("/sync_mode", None, "sync_mode invalid_value"),
        ("/sync_mode", Some(json!("chess")), "sync_mode invalid_value"),
        ("/participants", Some(json!([])), "participants too_small"),
        ("/participants", Some(json!({})), "participants invalid_type"),
        ("/participants", Some(json!([1])), "participants.0 invalid_type"),
        ("/participants", Some(json!(vec![1; 1_001])), "participants too_big"),
        ("/participants/1/total_time_ms", None, "participants.1.total_time_ms invalid_type"),
        ("/participants/1/group_id", Some(json!(null)), "participants.1.group_id invalid_type"),
        ("/participants/0/group_id", Some(json!("a")), "participants.0.group_id invalid_format"),
        (
            "/participants/0/participant_index",
            Some(json!(-1)),
            "participants.0.participant_index too_small",
        ),
        (
            "/participants/1/participant_id",
            Some(json!(ALICE)),
            "participants.1.participant_id invalid_value",
        ),
        ("/total_time_ms", Some(json!(999)), "total_time_ms too_small"),
        ("/total_time_ms", Some(json!("1000")), "total_time_ms invalid_type"),
        (
            "/total_time_ms",
            Some(json!(9_007_199_254_740_992u64)),
            "total_time_ms too_big; total_time_ms too_big",
        ),
        ("/time_per_cycle_ms", Some(json!(null)), "time_per_cycle_ms invalid_type"),
        ("/increment_ms", Some(json!(60_001)), "increment_ms too_big"),
        ("/increment_ms", Some(json!(0)), ""),
        ("/max_time_ms", Some(json!(1_000.5)), "max_time_ms invalid_type"),
        ("/metadata", Some(json!([])), "metadata invalid_type"),
        ("/metadata", Some(json!({"k": "v".repeat(16 * 1024)})), "metadata too_big"),
        ("/metadata", Some(json!({"k": {"nested": [null]}})), ""),
        ("/unknown", Some(json!(null)), ""),
    ];
    for (pointer, value, expected) in table {
        check(pointer, value, expected);
    }
}

#[test]
fn each_field_beyond_v2_has_its_rule() {
    let table = [
        ("/auto_advance", Some(json!("yes")), "auto_advance invalid_type"),
        ("/groups", Some(json!({})), "groups invalid_type"),
        ("/groups", Some(json!([{"group_id": TEAM}])), "groups.0.total_time_ms invalid_type"),
        (
            "/groups",
            Some(json!([
                {"group_id": TEAM, "total_time_ms": 1_000},
                {"group_id": TEAM, "total_time_ms": 1_000},
            ])),
            "groups.1.group_id invalid_value",
        ),
        ("/on_timeout", Some(json!("notify")), "on_timeout invalid_type"),
        ("/on_timeout", Some(json!({"type": "explode"})), "on_timeout.type invalid_value"),
        ("/on_timeout", Some(json!({"type": "auto_action"})), "on_timeout.action invalid_type"),
        ("/action_on_timeout", Some(json!({})), "action_on_timeout.type invalid_value"),
        ("/warnings_ms", Some(json!([0])), "warnings_ms.0 too_small"),
        ("/warnings_ms", Some(json!([1, 2, 3, 4, 5, 6, 7, 8, 9])), "warnings_ms too_big"),
        ("/warnings_ms", Some(json!(["1"])), "warnings_ms.0 invalid_type"),
        ("/active_participant_id", Some(json!(BOB)), ""),
        ("/active_participant_id", Some(json!(TEAM)), "active_participant_id invalid_value"),
        (
            "/active_participant_id",
            Some(json!(BOB.to_uppercase())),
            "active_participant_id invalid_value",
        ),
    ];
    for (pointer, value, expected) in table {
        check(pointer, value, expected);
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let missing = complaints(parse_create(&json!({})));
    assert_eq!(
        missing,
        "session_id invalid_type; sync_mode invalid_value; participants invalid_type; \
         total_time_ms invalid_type"
    );
    assert_eq!(complaints(parse_create(&json!([]))), " invalid_type");
    let issues = parse_create(&json!({})).unwrap_err();
    assert_eq!(issues[0].message, "Invalid input: expected string, received undefined");
}

#[test]
fn the_new_fields_are_kept() {
    let mut body = valid();
    body["sync_mode"] = json!("per_group");
    body["groups"] = json!([{"group_id": TEAM, "total_time_ms": 5_000, "members": []}]);
    body["action_on_timeout"] = json!({"type": "auto_action", "action": "fold"});
    body["warnings_ms"] = json!([10_000, 60_000, 10_000.0]);
    body["metadata"] = json!({"b": 1, "a": {"d": 2, "c": 3}});
    body["active_participant_id"] = json!(BOB);
    let new = parse_create(&body).unwrap();
    assert_eq!(new.groups[0].bank, Millis::new(5_000));
    assert_eq!(new.on_timeout, Some(OnTimeout::AutoAction { action: String::from("fold") }));
    assert_eq!(new.warnings, [Millis::new(10_000), Millis::new(60_000)]);
    assert_eq!(new.metadata.as_deref(), Some(r#"{"a":{"c":3,"d":2},"b":1}"#));
    assert_eq!(new.first, BOB.parse().ok());
}

#[test]
fn the_body_of_a_switch_is_optional_field_by_field() {
    let table = [
        (json!({}), Ok(SwitchBody::default())),
        (json!({"other": 1}), Ok(SwitchBody::default())),
        (
            json!({"next_participant_id": BOB, "current_participant_id": ALICE, "expected_version": 3}),
            Ok(SwitchBody {
                next: BOB.parse().ok(),
                current: ALICE.parse().ok(),
                expected_version: Some(3),
            }),
        ),
        (json!({"next_participant_id": null}), Err("next_participant_id invalid_type")),
        (json!({"next_participant_id": "x"}), Err("next_participant_id invalid_format")),
        (json!({"expected_version": 0}), Err("expected_version too_small")),
        (json!({"expected_version": "1"}), Err("expected_version invalid_type")),
        (json!([]), Err(" invalid_type")),
    ];
    for (body, expected) in table {
        match expected {
            Ok(read) => assert_eq!(parse_switch(&body), Ok(read), "{body}"),
            Err(expected) => assert_eq!(complaints(parse_switch(&body)), expected, "{body}"),
        }
    }
}

#[test]
fn other_commands_look_at_the_expected_version_only() {
    assert_eq!(parse_expected_version(&json!({"next_participant_id": null})), Ok(None));
    assert_eq!(parse_expected_version(&json!([1])), Ok(None));
    assert_eq!(parse_expected_version(&json!({"expected_version": 4})), Ok(Some(4)));
    let wrong = parse_expected_version(&json!({"expected_version": null}));
    assert_eq!(complaints(wrong), "expected_version invalid_type");
}

#[test]
fn outages_are_charged_unless_asked_otherwise() {
    let table = [
        (None, Ok(OnOutage::Charge)),
        (Some(json!("charge")), Ok(OnOutage::Charge)),
        (Some(json!("freeze")), Ok(OnOutage::Freeze)),
        (Some(json!("Freeze")), Err("on_outage invalid_value")),
        (Some(json!(null)), Err("on_outage invalid_value")),
        (Some(json!({"type": "freeze"})), Err("on_outage invalid_value")),
    ];
    for (given, expected) in table {
        let case = format!("{given:?}");
        let mut body = valid();
        body.as_object_mut().unwrap().extend(given.map(|given| (String::from("on_outage"), given)));
        match (super::parse_create(&body), expected) {
            (Ok((_, on_outage)), Ok(expected)) => assert_eq!(on_outage, expected, "{case}"),
            (result, expected) => {
                assert_eq!(complaints(result), expected.unwrap_err(), "{case}");
            }
        }
    }
}
