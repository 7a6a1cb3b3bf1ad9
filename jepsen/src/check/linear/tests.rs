//! Histories that no order explains, and some that one does.

use serde_json::{Value, json};

use super::{
    explain::Outcome,
    generate::{Shape, run, swap_two},
    *,
};
use crate::{
    check::example::Example,
    history::op::{F, Failure},
};

/// A session `s` of `p0` and `p1` that runs at version 2 from 204 ms on; nobody listens.
fn started() -> Example {
    let mut example = Example::new();
    example.create("s", 100);
    example.write(F::Start, "s", 200);
    example
}

fn shown(version: u64, status: &str, active: &str) -> Value {
    let active = if active.is_empty() { Value::Null } else { json!(active) };
    json!({"version": version, "status": status, "active_participant_id": active})
}

/// A switch to `active` that made `version`.
fn switch(example: &mut Example, body: Value, at: (u64, u64), (version, active): (u64, &str)) {
    example.op((F::Switch, Some("s")), body, at, Ok(shown(version, "running", active)));
}

fn read(example: &mut Example, at: (u64, u64), (version, status, active): (u64, &str, &str)) {
    example.op((F::Read, Some("s")), Value::Null, at, Ok(shown(version, status, active)));
}

fn refused<'a>(
    example: &'a mut Example,
    (f, body): (F, Value),
    at: (u64, u64),
    (status, kind): (u16, &str),
) -> &'a mut Failure {
    example.op((f, Some("s")), body, at, Err(kind));
    let event = example.last_event(1);
    event.status = Some(status);
    event.error.as_mut().unwrap()
}

fn conflict(example: &mut Example, body: Value, at: (u64, u64), (wanted, actual): (u64, u64)) {
    let failure = refused(example, (F::Switch, body), at, (409, "CONCURRENT_MODIFICATION"));
    failure.details = json!({"expected_version": wanted, "actual_version": actual});
}

fn expecting(version: u64) -> Value {
    json!({"expected_version": version})
}

type Case = (&'static str, fn(&mut Example));

const WRONG: &[Case] = &[
    ("a stale read", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        read(example, (400, 404), (2, "running", "p0"));
    }),
    ("a read of what is not yet", |example| {
        read(example, (250, 254), (3, "running", "p1"));
        switch(example, Value::Null, (300, 304), (3, "p1"));
    }),
    ("a lost update", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        switch(example, Value::Null, (400, 404), (3, "p1"));
    }),
    ("a double switch", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        read(example, (400, 404), (4, "running", "p0"));
    }),
    ("two switches that expected one version", |example| {
        switch(example, expecting(2), (300, 310), (3, "p1"));
        switch(example, expecting(2), (301, 311), (4, "p0"));
    }),
    ("a conflict with a version that never was", |example| {
        conflict(example, expecting(2), (300, 304), (2, 3));
    }),
    ("a conflict with the version that was expected", |example| {
        conflict(example, expecting(2), (300, 304), (2, 2));
    }),
    ("a conflict with a version from before", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        conflict(example, expecting(1), (400, 404), (1, 2));
    }),
    ("a read from before another read", |example| {
        switch(example, Value::Null, (300, 900), (3, "p1"));
        read(example, (400, 404), (3, "running", "p1"));
        read(example, (500, 504), (2, "running", "p0"));
    }),
    ("a session that is not there after its creation", |example| {
        refused(example, (F::Read, Value::Null), (300, 304), (404, "SESSION_NOT_FOUND"));
    }),
    ("an acknowledged switch that is gone at the end", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        example.end(1_000);
    }),
    ("the wrong participant in turn", |example| {
        switch(example, Value::Null, (300, 304), (3, "p0"));
    }),
    ("somebody else than who was asked for", |example| {
        switch(example, json!({"next_participant_id": "p0"}), (300, 304), (3, "p1"));
    }),
    ("a refusal because of a status that never was", |example| {
        let told = (400, "INVALID_SESSION_STATE");
        let failure = refused(example, (F::Switch, Value::Null), (300, 304), told);
        failure.context = json!({"status": "paused"});
    }),
    ("a refusal because of a status that allows it", |example| {
        let told = (400, "INVALID_SESSION_STATE");
        let failure = refused(example, (F::Switch, Value::Null), (300, 304), told);
        failure.context = json!({"status": "running"});
    }),
    ("a session that is back after its deletion", |example| {
        example.op((F::Delete, Some("s")), Value::Null, (300, 304), Ok(Value::Null));
        read(example, (400, 404), (2, "running", "p0"));
    }),
    ("a switch of a paused session", |example| {
        let paused = Ok(shown(3, "paused", "p0"));
        example.op((F::Pause, Some("s")), Value::Null, (300, 304), paused);
        switch(example, Value::Null, (400, 404), (4, "p1"));
    }),
    ("two effects under one key", |example| {
        example.open(F::Switch, "s", (300, 340)).idem = Some(String::from("k"));
        switch(example, Value::Null, (400, 404), (3, "p1"));
        example.last_event(2).idem = Some(String::from("k"));
        read(example, (500, 504), (4, "running", "p0"));
    }),
    ("more effects than there were requests", |example| {
        example.open(F::Switch, "s", (300, 340));
        read(example, (400, 404), (4, "running", "p0"));
    }),
    ("half of a batch", |example| {
        example.create("t", 300);
        let body = json!({"commands": [
            {"action": "switch", "session_id": "s"}, {"action": "start", "session_id": "t"},
        ]});
        let results = json!([shown(3, "running", "p1"), shown(2, "running", "p0")]);
        example.op((F::Batch, None), body, (400, 404), Ok(results));
        read(example, (500, 504), (2, "running", "p0"));
    }),
    ("a refused request that took effect", |example| {
        refused(example, (F::Switch, Value::Null), (300, 304), (503, "NO_LEADER"));
        read(example, (400, 404), (3, "running", "p1"));
    }),
    ("a clock that fell long before it was due", |example| {
        read(example, (300, 304), (3, "expired", ""));
    }),
];

#[test]
fn what_no_order_explains_is_found() {
    for (case, add) in WRONG {
        let mut example = started();
        add(&mut example);
        let run = example.run();
        let verdict = check(&run);
        assert_eq!(verdict.valid, Validity::Invalid, "{case}");
        assert_eq!(verdict.anomalies[0].session.as_deref(), Some("s"), "{case}");
        assert_eq!(explain(&run, "s").unwrap().outcome, Outcome::Illegal, "{case}");
    }
}

const RIGHT: &[Case] = &[
    ("switches at once", |example| {
        switch(example, Value::Null, (300, 400), (4, "p0"));
        switch(example, Value::Null, (301, 399), (3, "p1"));
        read(example, (302, 398), (2, "running", "p0"));
        read(example, (303, 397), (4, "running", "p0"));
        conflict(example, expecting(2), (304, 396), (2, 4));
        conflict(example, Value::Null, (305, 395), (2, 3));
    }),
    ("an open switch that takes effect late", |example| {
        example.open(F::Switch, "s", (300, 340));
        read(example, (400, 404), (2, "running", "p0"));
        read(example, (500, 504), (3, "running", "p1"));
        switch(example, expecting(3), (600, 604), (4, "p0"));
    }),
    ("an open switch that never takes effect", |example| {
        example.open(F::Switch, "s", (300, 340));
        switch(example, Value::Null, (400, 404), (3, "p1"));
        switch(example, Value::Null, (500, 504), (4, "p0"));
        example.open(F::Delete, "s", (600, 640));
        read(example, (700, 704), (4, "running", "p0"));
    }),
    ("a key that is sent again", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        example.last_event(2).idem = Some(String::from("k"));
        switch(example, Value::Null, (400, 404), (4, "p0"));
        switch(example, Value::Null, (500, 504), (3, "p1"));
        example.last_event(2).idem = Some(String::from("k"));
        read(example, (600, 604), (4, "running", "p0"));
    }),
    ("a refusal that is told again", |example| {
        conflict(example, expecting(1), (300, 304), (1, 2));
        example.last_event(2).idem = Some(String::from("k"));
        switch(example, Value::Null, (400, 404), (3, "p1"));
        conflict(example, expecting(1), (500, 504), (1, 2));
        example.last_event(2).idem = Some(String::from("k"));
    }),
    ("a session twice in a batch", |example| {
        let command = json!({"action": "switch", "session_id": "s"});
        let results = json!([shown(3, "running", "p1"), shown(4, "running", "p0")]);
        let body = json!({"commands": [command, command]});
        example.op((F::Batch, None), body, (300, 304), Ok(results));
        read(example, (400, 404), (4, "running", "p0"));
    }),
    ("a batch that is refused because of itself", |example| {
        let command = json!({"action": "pause", "session_id": "s"});
        let body = json!({"commands": [command, command]});
        example.op((F::Batch, None), body, (300, 304), Err("INVALID_SESSION_STATE"));
        let event = example.last_event(1);
        event.status = Some(400);
        event.error.as_mut().unwrap().context = json!({"index": 1, "status": "paused"});
        read(example, (400, 404), (2, "running", "p0"));
    }),
    ("a session that is made anew", |example| {
        example.op((F::Delete, Some("s")), Value::Null, (300, 304), Ok(Value::Null));
        refused(example, (F::Start, Value::Null), (400, 404), (404, "SESSION_NOT_FOUND"));
        let anew = Ok(shown(1, "pending", ""));
        example.op((F::Create, Some("s")), json!({}), (500, 504), anew.clone());
        example.op((F::Create, Some("s")), json!({}), (600, 604), anew);
        example.op((F::Start, Some("s")), Value::Null, (700, 704), Ok(shown(2, "running", "p0")));
        refused(example, (F::Create, json!({})), (800, 804), (409, "SESSION_EXISTS"));
    }),
    ("a clock that falls unseen", |example| {
        read(example, (61_000, 61_004), (3, "running", "p0"));
        switch(example, Value::Null, (62_000, 62_004), (4, "p1"));
    }),
    ("a stale read says nothing", |example| {
        switch(example, Value::Null, (300, 304), (3, "p1"));
        let old = Ok(json!({"data": shown(2, "running", "p0")}));
        example.op((F::StaleRead, Some("s")), Value::Null, (400, 404), old);
    }),
];

#[test]
fn what_some_order_explains_is_accepted() {
    for (case, add) in RIGHT {
        let mut example = started();
        add(&mut example);
        let run = example.run();
        let verdict = check(&run);
        assert_eq!(verdict.valid, Validity::Valid, "{case}: {:?}", verdict.anomalies);
        let explanation = explain(&run, "s").unwrap();
        assert_eq!(explanation.outcome, Outcome::Legal, "{case}");
        assert!(explanation.stuck.is_empty(), "{case}");
    }
}

/// What observers heard of the outcome.
#[test]
fn the_tape_says_what_came_of_open_operations() {
    // It was heard of at 503, so a read after that must show it.
    let told = |shown_after: u64| {
        let mut example = Example::started();
        example.write(F::Switch, "s", 500);
        let lost = example.last_event(1);
        (lost.kind, lost.status, lost.value) = (crate::history::op::Kind::Info, None, Value::Null);
        lost.time += 1_000_000_000;
        let active = if shown_after == 3 { "p1" } else { "p0" };
        read(&mut example, (600, 604), (shown_after, "running", active));
        example.end(2_000);
        check(&example.run())
    };
    let good = told(3);
    assert_eq!(good.valid, Validity::Valid, "{:?}", good.anomalies);
    assert_eq!(
        (&good.facts["closed_by_the_tape"], &good.facts["unknown_outcomes"]),
        (&json!(1), &json!(1))
    );
    let bad = told(2);
    assert_eq!(bad.valid, Validity::Invalid);
    assert_eq!(bad.facts["patched"]["valid?"], "invalid");

    // Nobody was told of the second one, and all is known up to the end.
    let mut example = Example::started();
    example.write(F::Switch, "s", 500);
    example.open(F::Switch, "s", (600, 700));
    example.end(2_000);
    let verdict = check(&example.run());
    assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
    assert_eq!(verdict.facts["dropped_by_the_tape"], 1);
}

#[test]
fn what_the_clock_did_is_on_the_tape() {
    let expired = |shown: u64, at: u64| {
        let mut example = Example::started();
        let due = example.expire("s", 5);
        read(&mut example, (due + at, due + at + 4), (shown, "running", "p0"));
        example.write(F::Switch, "s", due + 100);
        check(&example.run())
    };
    // Heard of after 5 ms: before that either may be read, and after it only one.
    let cases = [
        (2, 1, Validity::Valid),
        (3, 1, Validity::Valid),
        (3, 9, Validity::Valid),
        (2, 9, Validity::Invalid),
    ];
    for (shown, at, valid) in cases {
        let verdict = expired(shown, at);
        assert_eq!(verdict.valid, valid, "version {shown} after {at} ms: {:?}", verdict.anomalies);
    }
}

#[test]
fn the_first_that_fits_nowhere_is_named() {
    let mut example = started();
    switch(&mut example, Value::Null, (300, 304), (3, "p1"));
    read(&mut example, (400, 404), (2, "running", "p0"));
    switch(&mut example, Value::Null, (500, 504), (4, "p0"));
    let run = example.run();
    let anomaly = check(&run).anomalies.remove(0);
    assert_eq!(anomaly.ops, [6, 4, 2, 0]);
    assert!(anomaly.what.contains("a read that showed version 2, running, p0"), "{}", anomaly.what);
    assert!(anomaly.what.contains("at version 3, running, p1 active"), "{}", anomaly.what);
    let explanation = explain(&run, "s").unwrap();
    assert_eq!(explanation.order.len(), 3);
    assert_eq!(explanation.stuck[0].ops, [6]);
    assert_eq!(explain(&run, "t"), None);
}

#[test]
fn generated_histories_are_legal_until_two_answers_are_swapped() {
    let mut swapped = 0;
    for seed in 0..20 {
        let unknown = if seed % 2 == 0 { 0.05 } else { 0.3 };
        let mut run = run(Shape { seed, operations: 200, clients: 6, unknown });
        let verdict = check(&run);
        assert_eq!(verdict.valid, Validity::Valid, "seed {seed}: {:?}", verdict.anomalies);
        if swap_two(&mut run, seed) {
            swapped += 1;
            assert_eq!(check(&run).valid, Validity::Invalid, "seed {seed}");
        }
    }
    assert!(10 < swapped);
}
