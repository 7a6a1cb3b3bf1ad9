//! Sums that were made by hand.

use serde_json::{Value, json};

use super::{Session, Status};

const NOON: u64 = 1_790_000_000_000;

fn body(mode: &str, seats: usize, more: &Value) -> Value {
    let seat = |place: usize| {
        let group = if place.is_multiple_of(2) { "ga" } else { "gb" };
        json!({"participant_id": format!("p{place}"), "participant_index": place, "total_time_ms": 5_000, "group_id": group})
    };
    let mut body = json!({
        "session_id": "s", "sync_mode": mode, "total_time_ms": 20_000,
        "participants": (0..seats).map(seat).collect::<Vec<_>>(),
    });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

fn made(mode: &str, more: &Value) -> Session {
    Session::made(&body(mode, 3, more), NOON).unwrap()
}

fn told(kind: &str, more: &Value) -> Value {
    let mut cause = json!({"type": kind, "reason": "command"});
    for (field, value) in more.as_object().unwrap() {
        cause[field] = value.clone();
    }
    cause
}

fn start(session: &mut Session) {
    session.step(&told("started", &json!({"participant_id": "p0"})), NOON + 100).unwrap();
}

fn switch(session: &mut Session, to: &str, at: u64) -> Result<(), String> {
    let from = session.active_id().unwrap().to_owned();
    let cause = told("switched", &json!({"from_participant_id": from, "to_participant_id": to}));
    session.step(&cause, NOON + at)
}

#[test]
fn a_fischer_increment_comes_after_the_turn_and_not_to_who_is_out() {
    let mut session = made("per_participant", &json!({"increment_ms": 300}));
    start(&mut session);
    assert_eq!(session.due_ms(), Some(NOON + 5_100));
    switch(&mut session, "p1", 1_100).unwrap();
    assert_eq!((session.seats[0].bank_ms, session.seats[0].used_ms), (4_300, 1_000));
    assert!(switch(&mut session, "p2", 6_100).unwrap_err().contains("time was up"));
    let expired = json!({"type": "participant_expired", "reason": "timeout", "due_ms": NOON + 6_100, "participant_id": "p1"});
    session.step(&expired, NOON + 6_100).unwrap();
    assert_eq!(session.due_ms(), None);
    switch(&mut session, "p2", 7_000).unwrap();
    assert_eq!((session.seats[1].bank_ms, session.seats[1].used_ms), (0, 5_900));
}

#[test]
fn modes_fall_due_where_the_contract_says() {
    let cases = [
        ("per_participant", json!({}), Some(5_100)),
        ("per_cycle", json!({"time_per_cycle_ms": 2_000}), Some(2_100)),
        ("per_cycle", json!({}), Some(20_100)),
        ("per_group", json!({}), Some(10_100)),
        ("per_group", json!({"groups": [{"group_id": "ga", "total_time_ms": 7_000}]}), Some(7_100)),
        ("global", json!({}), Some(20_100)),
        ("count_up", json!({}), None),
        ("count_up", json!({"max_time_ms": 9_000}), Some(9_100)),
    ];
    for (mode, more, due) in cases {
        let mut session = made(mode, &more);
        start(&mut session);
        assert_eq!(session.due_ms(), due.map(|due| NOON + due), "{mode} {more}");
    }
}

#[test]
fn what_happens_when_time_is_up() {
    let cases = [
        ("per_participant", json!({}), "participant_expired", Status::Running, Some("p0")),
        (
            "per_participant",
            json!({"on_timeout": {"type": "skip_cycle"}}),
            "cycle_skipped",
            Status::Running,
            Some("p1"),
        ),
        (
            "per_participant",
            json!({"on_timeout": {"type": "end_session"}}),
            "session_expired",
            Status::Expired,
            None,
        ),
        (
            "per_cycle",
            json!({"time_per_cycle_ms": 2_000, "auto_advance": true}),
            "cycle_skipped",
            Status::Running,
            Some("p1"),
        ),
        (
            "per_group",
            json!({"on_timeout": {"type": "skip_cycle"}}),
            "cycle_skipped",
            Status::Running,
            Some("p1"),
        ),
        ("global", json!({}), "session_expired", Status::Expired, None),
        (
            "global",
            json!({"on_timeout": {"type": "skip_cycle"}}),
            "session_expired",
            Status::Expired,
            None,
        ),
        (
            "global",
            json!({"on_timeout": {"type": "notify"}}),
            "participant_expired",
            Status::Running,
            Some("p0"),
        ),
        ("count_up", json!({"max_time_ms": 3_000}), "session_expired", Status::Expired, None),
    ];
    for (mode, more, happens, status, active) in cases {
        let mut session = made(mode, &more);
        start(&mut session);
        let due = session.due_ms().unwrap();
        let cause = json!({
            "type": happens, "reason": "timeout", "due_ms": due, "participant_id": "p0",
            "from_participant_id": "p0", "to_participant_id": "p1",
        });
        session.step(&cause, due).unwrap();
        assert_eq!((session.status, session.active_id()), (status, active), "{mode} {more}");
        assert!(session.step(&cause, due + 1).is_err(), "{mode} {more}");
    }
}

#[test]
fn who_shares_a_bank_runs_out_together() {
    let mut session = made("per_group", &json!({"on_timeout": {"type": "skip_cycle"}}));
    start(&mut session);
    let due = session.due_ms().unwrap();
    session.run_out(0, due);
    let out: Vec<bool> = session.seats.iter().map(|seat| seat.expired_ms.is_some()).collect();
    assert_eq!(out, [true, false, true]);
    assert_eq!(session.follows(), Some("p1"));
}

#[test]
fn an_outage_is_credited_where_that_was_asked_for() {
    let credit = |from: u64, until: u64, credited: u64| json!({"type": "outage_credited", "reason": "auto", "from_ms": NOON + from, "until_ms": NOON + until, "credited_ms": credited});
    let mut charged = made("per_participant", &json!({}));
    start(&mut charged);
    assert!(charged.step(&credit(1_000, 2_000, 1_000), NOON + 2_000).is_err());
    let mut frozen = made("per_participant", &json!({"on_outage": "freeze"}));
    start(&mut frozen);
    assert!(frozen.clone().step(&credit(1_000, 2_000, 999), NOON + 2_000).is_err());
    frozen.step(&credit(50, 2_000, 1_900), NOON + 2_000).unwrap();
    assert_eq!(frozen.due_ms(), Some(NOON + 7_000));
}

#[test]
fn a_state_that_was_shown_is_read_back() {
    for (mode, more) in [
        ("per_participant", json!({"increment_ms": 10, "warnings_ms": [50]})),
        ("per_cycle", json!({"time_per_cycle_ms": 2_000, "metadata": {"a": [1]}})),
        ("per_group", json!({"on_outage": "freeze", "auto_advance": false})),
        ("count_up", json!({"max_time_ms": 9_000})),
    ] {
        let mut session = made(mode, &more);
        start(&mut session);
        switch(&mut session, "p2", 700).unwrap();
        session.step(&told("paused", &json!({})), NOON + 900).unwrap();
        let read = Session::seen(&session.shown()).unwrap();
        assert_eq!(read.shown(), session.shown(), "{mode}");
        let mut again = [session, read];
        for session in &mut again {
            session.step(&told("resumed", &json!({})), NOON + 1_000).unwrap();
        }
        assert_eq!(again[0].due_ms(), again[1].due_ms(), "{mode}");
    }
}
