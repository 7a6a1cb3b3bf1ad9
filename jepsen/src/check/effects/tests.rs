//! Effects that nobody can have had.

use serde_json::{Value, json};

use super::check;
use crate::{
    check::{
        example::{Example, reread, retell},
        verdict::{Validity, Verdict},
    },
    history::{
        op::{F, Failure, Kind},
        tape::Frame,
    },
    test::run::Run,
};

/// Versions 3 to 5 are switches, at 300, 400 and 500.
fn played() -> Run {
    let mut example = Example::started();
    for at in [300, 400, 500] {
        example.write(F::Switch, "s", at);
    }
    example.end(1_000);
    example.run()
}

/// What came of the switch at `at` was not told, but this.
fn ended(run: &mut Run, at: u64, kind: Kind) {
    let end = run.events.iter_mut().find(|event| event.time == (at + 4) * 1_000_000).unwrap();
    (end.kind, end.value, end.status) = (kind, Value::Null, None);
    let effect = if kind == Kind::Info { "unknown" } else { "none" };
    end.error = Some(Failure { effect: effect.to_owned(), ..Failure::default() });
    reread(run);
}

fn asked(run: &mut Run, at: u64, body: Value) {
    let invocation = run.events.iter_mut().find(|event| event.time == at * 1_000_000).unwrap();
    invocation.value = body;
    reread(run);
}

fn is(verdict: &Verdict, valid: Validity, word: &str) {
    assert_eq!(verdict.valid, valid, "{word}: {:?}", verdict.anomalies);
    if valid == Validity::Invalid {
        assert!(verdict.anomalies[0].what.contains(word), "{:?}", verdict.anomalies);
    }
}

#[test]
fn what_is_acknowledged_or_unknown_may_have_an_effect() {
    is(&check(&played()), Validity::Valid, "");
    for at in [300, 400, 500] {
        let mut run = played();
        ended(&mut run, at, Kind::Info);
        is(&check(&run), Validity::Valid, "one unknown");
    }
    let mut run = played();
    for at in [300, 400, 500] {
        ended(&mut run, at, Kind::Info);
    }
    is(&check(&run), Validity::Valid, "all unknown");
}

#[test]
fn what_is_refused_has_none() {
    let mut run = played();
    ended(&mut run, 400, Kind::Fail);
    is(&check(&run), Validity::Invalid, "nobody can have made");
}

#[test]
fn unknown_commands_have_one_effect_each_and_only_of_their_kind() {
    // Two changes, one that may have made them.
    let mut run = played();
    ended(&mut run, 400, Kind::Fail);
    ended(&mut run, 300, Kind::Info);
    is(&check(&run), Validity::Invalid, "nobody can have made");
    // It asked for something else, or later.
    for body in [json!({"expected_version": 9}), json!({"next_participant_id": "p7"})] {
        let mut run = played();
        ended(&mut run, 400, Kind::Info);
        asked(&mut run, 400, body);
        is(&check(&run), Validity::Invalid, "nobody can have made");
    }
    let mut run = played();
    ended(&mut run, 300, Kind::Fail);
    ended(&mut run, 500, Kind::Info);
    is(&check(&run), Validity::Invalid, "nobody can have made");
}

#[test]
fn a_repeat_under_a_key_adds_nothing() {
    let key = |run: &mut Run, at: u64| {
        let of = |time: u64| time == at * 1_000_000 || time == (at + 4) * 1_000_000;
        for event in run.events.iter_mut().filter(|event| of(event.time)) {
            event.idem = Some(String::from("k"));
        }
        reread(run);
    };
    let mut run = played();
    for at in [400, 500] {
        ended(&mut run, at, Kind::Info);
        key(&mut run, at);
    }
    is(&check(&run), Validity::Invalid, "nobody can have made");
    let mut run = played();
    ended(&mut run, 500, Kind::Info);
    for at in [400, 500] {
        key(&mut run, at);
    }
    is(&check(&run), Validity::Invalid, "nobody can have made");
}

#[test]
fn two_that_saw_the_same_version_cannot_both_win() {
    let together = |run: &mut Run| {
        retell(run, "s", 4, |told| told["revision"] = json!(14));
        retell(run, "s", 5, |told| told["revision"] = json!(14));
    };
    let mut run = played();
    together(&mut run);
    is(&check(&run), Validity::Invalid, "two commands");
    // One that names the version that the other one will make takes its chance.
    let mut run = played();
    together(&mut run);
    asked(&mut run, 500, json!({"expected_version": 4}));
    is(&check(&run), Validity::Valid, "");
}

#[test]
fn sessions_are_deleted_by_somebody() {
    let mut example = Example::started();
    example.write(F::Delete, "s", 300);
    example.end(1_000);
    let mut run = example.run();
    is(&check(&run), Validity::Valid, "");
    ended(&mut run, 300, Kind::Fail);
    is(&check(&run), Validity::Invalid, "was deleted");
    let swept = |frame: &&mut Frame| frame.value["type"] == "SESSION_DELETED";
    run.frames
        .iter_mut()
        .filter(swept)
        .for_each(|frame| frame.value["cause"]["reason"] = json!("auto"));
    reread(&mut run);
    is(&check(&run), Validity::Valid, "");
}
