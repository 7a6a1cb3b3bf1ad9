//! The checker on histories made by hand.

use serde_json::{Value, json};

use super::check;
use crate::{
    check::{
        example::{Example, reread, retell},
        verdict::{Validity, Verdict},
    },
    history::op::{Event, F, Failure, Kind},
    test::run::Run,
};

/// Makes a failure of the last event.
fn fail(event: &mut Event, (status, kind): (u16, &str), context: Value) {
    event.kind = Kind::Fail;
    event.value = Value::Null;
    event.status = Some(status);
    let details = match kind {
        "CONCURRENT_MODIFICATION" if !context["actual_version"].is_null() => context.clone(),
        _ => Value::Null,
    };
    event.error = Some(Failure {
        kind: kind.to_owned(),
        effect: String::from("none"),
        retryable: ["CONCURRENT_MODIFICATION", "NO_LEADER"].contains(&kind),
        message: String::new(),
        context,
        details,
    });
}

/// A command that a node refused.
fn refused(
    example: &mut Example,
    (f, session): (F, &str),
    request: Value,
    (at, returned): (u64, u64),
    ((status, kind), context): ((u16, &str), Value),
) {
    example.op((f, Some(session)), request, (at, returned), Ok(Value::Null));
    fail(example.last_event(1), (status, kind), context);
}

const CONFLICT: (u16, &str) = (409, "CONCURRENT_MODIFICATION");
const STATE: (u16, &str) = (400, "INVALID_SESSION_STATE");
const MISSING: (u16, &str) = (404, "SESSION_NOT_FOUND");
const EXISTS: (u16, &str) = (409, "SESSION_EXISTS");
const NO_LEADER: (u16, &str) = (503, "NO_LEADER");

fn versions(expected: u64, actual: u64) -> Value {
    json!({"expected_version": expected, "actual_version": actual})
}

/// Of `s` version 3 is a switch at 300, 4 a pause at 400, 5 a resume at 500 that nobody was
/// answered, 6 an expiry long after. `gone` lives from 600 to 700.
fn good() -> Example {
    let mut example = Example::started();
    refused(
        &mut example,
        (F::Start, "s"),
        Value::Null,
        (250, 254),
        (STATE, json!({"status": "running"})),
    );
    example.write(F::Switch, "s", 300);
    let named = json!({"expected_version": 2});
    refused(&mut example, (F::Switch, "s"), named, (299, 304), (CONFLICT, versions(2, 3)));
    refused(&mut example, (F::Switch, "s"), Value::Null, (301, 305), (CONFLICT, versions(2, 3)));
    let active = json!({"actual_participant_id": "p1"});
    let named = json!({"current_participant_id": "p0"});
    refused(&mut example, (F::Switch, "s"), named, (310, 314), (CONFLICT, active));
    refused(&mut example, (F::Switch, "s"), Value::Null, (320, 324), (NO_LEADER, Value::Null));
    refused(
        &mut example,
        (F::Create, "s"),
        json!({}),
        (330, 334),
        (EXISTS, json!({"session_id": "s"})),
    );
    example.write(F::Pause, "s", 400);
    example.open(F::Switch, "s", (420, 450));
    example.write(F::Resume, "s", 500);
    let lost = example.last_event(1);
    (lost.kind, lost.value, lost.status) = (Kind::Info, Value::Null, None);
    lost.error = Some(Failure {
        kind: String::from("CUT"),
        effect: String::from("unknown"),
        ..Failure::default()
    });
    refused(&mut example, (F::Start, "gone"), Value::Null, (590, 594), (MISSING, Value::Null));
    example.create("gone", 600);
    example.write(F::Delete, "gone", 700);
    refused(&mut example, (F::Start, "gone"), Value::Null, (701, 706), (MISSING, Value::Null));
    refused(&mut example, (F::Start, "gone"), Value::Null, (800, 806), (MISSING, Value::Null));
    example.expire("s", 1);
    example.end(70_000);
    example
}

fn changed(change: impl Fn(&mut Run)) -> Verdict {
    let mut run = good().run();
    change(&mut run);
    reread(&mut run);
    check(&run)
}

/// Good, and one refusal more.
fn with(
    what: (F, &str),
    request: Value,
    window: (u64, u64),
    refusal: ((u16, &str), Value),
) -> Verdict {
    let mut example = good();
    refused(&mut example, what, request, window, refusal);
    check(&example.run())
}

/// The answer to the first command of this kind that was sent at `at`.
fn answer_to<'r>(run: &'r mut Run, f: &str, at: u64) -> &'r mut Event {
    let asked = run.events.iter().find(|event| event.f == f && event.time == at * 1_000_000);
    let process = asked.unwrap().process;
    run.events.iter_mut().rfind(|event| event.process == process).unwrap()
}

fn request_of<'r>(run: &'r mut Run, f: &str, at: u64) -> &'r mut Event {
    run.events.iter_mut().find(|event| event.f == f && event.time == at * 1_000_000).unwrap()
}

/// Versions 3 and 4 of `s` share a log entry.
fn together(run: &mut Run) {
    let revision = good().told("s", 3)["revision"].clone();
    retell(run, "s", 4, |message| message["revision"] = revision.clone());
}

#[test]
fn what_has_no_effect_and_says_so_truly_is_accepted() {
    let verdict = check(&good().run());
    assert_eq!(verdict.valid, Validity::Valid, "{:#?}", verdict.anomalies);
    assert_eq!(verdict.facts["refusals"], 8);
    assert_eq!(verdict.facts["changes"], 7);
}

#[test]
fn what_may_be_is_accepted() {
    let unanswered = |run: &mut Run| {
        // A create of a deleted session whose answer got lost: the 404 of 800 may be before it.
        let mut open = request_of(run, "create", 600).clone();
        open.time = 720 * 1_000_000;
        open.process = crate::history::op::Process::Client(900);
        run.events.push(open);
    };
    let cases: [(&str, Verdict); 7] = [
        ("a create that nobody heard of", changed(unanswered)),
        (
            "an open one did it",
            changed(|run| {
                let answer = answer_to(run, "pause", 400);
                answer.kind = Kind::Info;
                answer.error = Some(Failure { kind: String::from("CUT"), ..Failure::default() });
            }),
        ),
        (
            "one entry, and the second named the first's version",
            changed(|run| {
                together(run);
                request_of(run, "pause", 400).value = json!({"expected_version": 3});
            }),
        ),
        (
            "one entry, and the clock did the first",
            changed(|run| {
                together(run);
                retell(run, "s", 3, |message| {
                    message["cause"] = json!({"type": "participant_expired", "reason": "timeout"});
                });
            }),
        ),
        (
            "a version that nobody was told of",
            changed(|run| {
                let version = |frame: &crate::history::tape::Frame| frame.value["version"].clone();
                run.frames.retain(|frame| version(frame) != 4);
                let conflict = answer_to(run, "switch", 320);
                fail(conflict, CONFLICT, versions(3, 4));
            }),
        ),
        (
            "at the very end",
            with((F::Create, "new"), json!({}), (69_000, 69_004), (NO_LEADER, Value::Null)),
        ),
        ("a state of the window's begin", {
            let status = json!({"status": "running"});
            with((F::Resume, "s"), Value::Null, (403, 420), (STATE, status))
        }),
    ];
    for (case, verdict) in cases {
        assert_eq!(verdict.valid, Validity::Valid, "{case}: {:#?}", verdict.anomalies);
    }
}

#[test]
fn effects_that_were_denied_are_found() {
    let cases: [(&str, Verdict); 6] = [
        (
            "a pause said to have had none",
            changed(|run| fail(answer_to(run, "pause", 400), NO_LEADER, Value::Null)),
        ),
        (
            "a create said to have had none",
            changed(|run| fail(answer_to(run, "create", 600), (503, "NO_LEADER"), Value::Null)),
        ),
        (
            "a delete said to have had none",
            changed(|run| fail(answer_to(run, "delete", 700), NO_LEADER, Value::Null)),
        ),
        (
            "one switch, two effects",
            changed(|run| {
                // The open switch does not explain it: it was sent later.
                retell(run, "s", 4, |message| message["cause"]["type"] = json!("switched"));
                run.events.retain(|event| event.f != "pause");
            }),
        ),
        (
            "a batch of which one part is there",
            changed(|run| {
                let commands = [("pause", "s"), ("start", "nobody")];
                let command = |(action, session)| json!({"action": action, "session_id": session});
                let asked = request_of(run, "pause", 400);
                asked.value = json!({"commands": commands.map(command)});
                (asked.f, asked.key) = (String::from("batch"), None);
                fail(answer_to(run, "batch", 400), MISSING, json!({"index": 1}));
            }),
        ),
        (
            "an open one that named another version",
            changed(|run| {
                request_of(run, "resume", 500).value = json!({"expected_version": 2});
            }),
        ),
    ];
    for (case, verdict) in cases {
        assert_eq!(verdict.valid, Validity::Invalid, "{case}");
        assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
    }
}

#[test]
fn effects_that_only_the_end_shows_are_found() {
    let mut made = good();
    refused(&mut made, (F::Create, "new"), json!({}), (800, 804), (NO_LEADER, Value::Null));
    let mut made = made.run();
    let state = made.ending.nodes[0].sessions["s"].clone();
    made.ending.nodes[2].sessions.insert(String::from("new"), state);
    let mut ended = good();
    refused(&mut ended, (F::Delete, "s"), Value::Null, (800, 804), (NO_LEADER, Value::Null));
    let mut ended = ended.run();
    for node in &mut ended.ending.nodes {
        node.sessions.insert(String::from("s"), Value::Null);
    }
    for (case, run) in [("made", made), ("ended", ended)] {
        let verdict = check(&run);
        assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
        assert!(verdict.anomalies[0].node.is_some(), "{case}");
    }
}

#[test]
fn refusals_that_are_not_true_are_found() {
    let running = json!({"status": "running"});
    let bare = Value::Null;
    let on = |f| (f, "s");
    let cases: [(&str, Verdict); 12] = [
        (
            "no such version",
            with(on(F::Pause), bare.clone(), (310, 314), (CONFLICT, versions(3, 9))),
        ),
        ("not any more", with(on(F::Pause), bare.clone(), (310, 314), (CONFLICT, versions(1, 2)))),
        ("not yet", with(on(F::Pause), bare.clone(), (310, 314), (CONFLICT, versions(3, 4)))),
        (
            "what it expected",
            with(on(F::Pause), bare.clone(), (310, 314), (CONFLICT, versions(3, 3))),
        ),
        ("for another version", {
            let named = json!({"expected_version": 1});
            with(on(F::Pause), named, (310, 314), (CONFLICT, versions(2, 3)))
        }),
        ("somebody else is active", {
            let named = json!({"current_participant_id": "p1"});
            let told = json!({"actual_participant_id": "p0"});
            with(on(F::Switch), named, (310, 314), (CONFLICT, told))
        }),
        ("it is there", with(on(F::Pause), bare.clone(), (310, 314), (MISSING, Value::Null))),
        ("it is gone", with((F::Create, "gone"), json!({}), (800, 804), (EXISTS, Value::Null))),
        ("another state", with(on(F::Start), bare.clone(), (410, 414), (STATE, running.clone()))),
        ("a state that allows it", with(on(F::Pause), bare.clone(), (310, 314), (STATE, running))),
        ("not expired", {
            let told = (400, "PARTICIPANT_EXPIRED");
            with(on(F::Switch), bare.clone(), (310, 314), (told, Value::Null))
        }),
        ("who sits there", {
            let named = json!({"next_participant_id": "p1"});
            with(on(F::Switch), named, (310, 314), ((400, "PARTICIPANT_NOT_FOUND"), Value::Null))
        }),
    ];
    for (case, verdict) in cases {
        assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
    }
}

#[test]
fn conflicts_that_were_lost_are_found() {
    let cases: [(&str, Verdict); 3] = [
        ("two in one entry", changed(together)),
        (
            "one version twice",
            changed(|run| {
                let twice = answer_to(run, "switch", 300).value.clone();
                let other = answer_to(run, "switch", 320);
                (other.kind, other.status, other.error) = (Kind::Ok, Some(200), None);
                other.value = twice;
            }),
        ),
        (
            "a torn batch",
            changed(|run| {
                let (first, second) = (good().told("s", 3), good().told("s", 4));
                let asked = request_of(run, "switch", 300);
                let command = |action| json!({"action": action, "session_id": "s"});
                asked.value = json!({"commands": [command("switch"), command("pause")]});
                (asked.f, asked.key) = (String::from("batch"), None);
                let answer = answer_to(run, "batch", 300);
                answer.value = json!([first["state"], second["state"]]);
                answer.time = 420 * 1_000_000;
                run.events.retain(|event| event.f != "pause");
            }),
        ),
    ];
    for (case, verdict) in cases {
        assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
    }
}

#[test]
fn errors_that_contradict_themselves_are_found() {
    let error = |change: fn(&mut Event)| changed(|run| change(answer_to(run, "switch", 320)));
    let failure = |event: &mut Event| event.error.clone().unwrap();
    let cases: [(&str, Verdict); 4] = [
        ("another status", error(|event| event.status = Some(500))),
        ("an unknown kind", error(|event| fail(event, (418, "TEAPOT"), Value::Null))),
        (
            "no word of a retry",
            changed(|run| {
                let event = answer_to(run, "switch", 320);
                event.error = Some(Failure { retryable: false, ..failure(event) });
            }),
        ),
        (
            "a promise that cannot be kept",
            changed(|run| {
                let event = answer_to(run, "switch", 320);
                let kind = String::from("NETWORK_TIMEOUT");
                event.status = Some(504);
                event.error = Some(Failure { kind, ..failure(event) });
            }),
        ),
    ];
    for (case, verdict) in cases {
        assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
    }
}

#[test]
fn a_run_that_nobody_listened_to_proves_nothing() {
    assert_eq!(changed(|run| run.frames.clear()).valid, Validity::Unknown);
}
