//! Histories that replay must reject, and some that it must not.

use serde_json::{Value, json};

use super::check;
use crate::{
    check::{
        example::{EPOCH_MS, Example, reread, retell},
        verdict::{Anomaly, Validity, Verdict},
    },
    history::op::F,
    model::Session,
    test::run::Run,
};

const OBSERVER: (&str, &str) = ("observer-n1-1", "n1");

/// A session that is played as it should be, until a test changes what was written down of it.
struct Story {
    example: Example,
    model: Session,
    revision: u64,
}

impl Story {
    fn new() -> Self {
        let mut example = Example::new();
        example.frame(OBSERVER, 1, crate::history::tape::What::Open, 10);
        let seat = |place: u64| json!({"participant_id": format!("p{place}"), "participant_index": place, "total_time_ms": 60_000});
        let body = json!({
            "session_id": "s", "sync_mode": "per_participant", "total_time_ms": 120_000,
            "increment_ms": 500, "participants": [seat(0), seat(1), seat(2)],
        });
        let model = Session::made(&body, EPOCH_MS + 102).unwrap();
        let mut story = Self { example, model, revision: 10 };
        story.tell(&json!({"type": "created", "reason": "command"}), 103);
        story.example.op((F::Create, Some("s")), body, (100, 104), Ok(story.model.shown()));
        let started = json!({"type": "started", "reason": "command", "participant_id": "p0"});
        story.command(F::Start, Value::Null, started, 200);
        story
    }

    fn tell(&mut self, cause: &Value, at: u64) {
        self.revision += 1;
        let message = json!({
            "type": "STATE_UPDATE", "sessionId": "s", "version": self.model.version,
            "revision": self.revision, "cause": cause, "state": self.model.shown(),
        });
        self.example.message(OBSERVER, 1, message, at);
    }

    /// Asked for at `at`, stamped 2 ms later, told after 3 ms, answered after 4 ms.
    fn command(&mut self, f: F, request: Value, cause: Value, at: u64) {
        let out = self.model.out_now().map(str::to_owned);
        self.model.step(&cause, EPOCH_MS + at + 2).unwrap();
        self.tell(&cause, at + 3);
        let answer = match f {
            F::Switch => self.model.switched(out.as_deref()),
            _ => self.model.shown(),
        };
        self.example.op((f, Some("s")), request, (at, at + 4), Ok(answer));
    }

    fn switch(&mut self, at: u64) {
        let shown = self.model.shown();
        let from = shown["active_participant_id"].clone();
        let to = self.model.follows().unwrap().to_owned();
        let cause = json!({"type": "switched", "reason": "command", "from_participant_id": from, "to_participant_id": to});
        self.command(F::Switch, json!({"expected_version": self.model.version}), cause, at);
    }

    fn read(&mut self, at: u64) {
        self.example.op((F::Read, Some("s")), Value::Null, (at, at + 2), Ok(self.model.shown()));
    }
}

/// Versions 1 to 6: three switches, and a pause; a read after each switch.
fn played() -> Run {
    let mut story = Story::new();
    for at in [300, 400, 500] {
        story.switch(at);
        story.read(at + 50);
    }
    story.command(F::Pause, Value::Null, json!({"type": "paused", "reason": "command"}), 600);
    story.example.run()
}

/// Changes what the operation that made this version was told.
fn reanswer(run: &mut Run, version: u64, change: impl Fn(&mut Value)) {
    let event = run.events.iter_mut().find(|event| {
        event.value["version"] == version
            && event.kind == crate::history::op::Kind::Ok
            && event.f != "read"
    });
    change(&mut event.unwrap().value);
    reread(run);
}

fn rejected(run: &Run, word: &str) {
    let verdict: Verdict = check(run);
    assert_eq!(verdict.valid, Validity::Invalid, "{word}");
    let said = |anomaly: &Anomaly| anomaly.what.contains(word);
    assert!(verdict.anomalies.iter().any(said), "{word}: {:#?}", verdict.anomalies);
}

#[test]
fn honest_play_is_valid() {
    let verdict = check(&played());
    assert_eq!(verdict.valid, Validity::Valid, "{:#?}", verdict.anomalies);
    let facts = ["versions", "gaps", "answers", "ordered"].map(|fact| verdict.facts[fact].as_u64());
    assert_eq!(facts, [Some(6), Some(0), Some(9), Some(8)]);
}

#[test]
fn a_gap_is_counted_and_nothing_more() {
    let mut run = played();
    run.frames.retain(|frame| frame.value["version"] != 3);
    reread(&mut run);
    let verdict = check(&run);
    assert_eq!(verdict.valid, Validity::Valid, "{:#?}", verdict.anomalies);
    assert_eq!(verdict.facts["gaps"], 1);
}

#[test]
fn versions_that_cannot_be_are_rejected() {
    type Change = fn(&mut Value);
    let cases: [(u64, Change, &str); 9] = [
        (3, |told| told["state"]["participants"][0]["time_used_ms"] = json!(99), "time_used_ms"),
        (
            3,
            |told| told["state"]["participants"][0]["total_time_ms"] = json!(60_001),
            "total_time_ms",
        ),
        (4, |told| told["state"]["active_participant_id"] = json!("p0"), "active_participant_id"),
        (4, |told| told["state"]["deadline_ms"] = json!(1), "deadline_ms"),
        (4, |told| told["cause"]["type"] = json!("resumed"), "cannot have resumed"),
        (4, |told| told["cause"]["from_participant_id"] = json!("p2"), "who was active"),
        (5, |told| told["revision"] = json!(3), "stands at revision"),
        (1, |told| told["state"]["increment_ms"] = json!(7), "not what was asked for"),
        (4, |told| told["state"]["updated_at"] = json!("2026-09-21T13:46:40.001Z"), "cannot have"),
    ];
    for (version, change, word) in cases {
        let mut run = played();
        retell(&mut run, "s", version, change);
        rejected(&run, word);
    }
}

#[test]
fn answers_that_are_not_so_are_rejected() {
    type Change = fn(&mut Value);
    let cases: [(u64, Change, &str); 4] = [
        (3, |answer| answer["active_participant_id"] = json!("p2"), "what is not so"),
        (4, |answer| answer["expired_participant_id"] = json!("p1"), "what is not so"),
        (5, |answer| answer["version"] = json!(4), "two commands"),
        (2, |answer| answer["participants"][0]["cycle_count"] = json!(1), "what is not so"),
    ];
    for (version, change, word) in cases {
        let mut run = played();
        reanswer(&mut run, version, change);
        rejected(&run, word);
    }
}

#[test]
fn a_stale_version_that_was_acknowledged_is_rejected() {
    let mut run = played();
    let switch = run.events.iter_mut().find(|event| event.value["expected_version"] == 4);
    switch.unwrap().value = json!({"expected_version": 3});
    reread(&mut run);
    rejected(&run, "should have been refused");
}

#[test]
fn a_read_from_the_past_is_rejected() {
    let mut run = played();
    let old =
        run.events.iter().find(|e| e.f == "read" && e.value["version"] == 3).unwrap().value.clone();
    let last = run.events.iter_mut().rfind(|event| event.f == "read" && !event.value.is_null());
    last.unwrap().value = old;
    reread(&mut run);
    rejected(&run, "a read gave version 3");
}

#[test]
fn a_log_that_is_not_in_the_order_of_time_is_rejected() {
    let mut run = played();
    // The last switch was asked for, answered and told before the first one was.
    for event in &mut run.events {
        if event.value["version"] == 5 || event.value["expected_version"] == 4 {
            event.time -= 250 * 1_000_000;
        }
    }
    run.events.sort_by_key(|event| event.time);
    reread(&mut run);
    rejected(&run, "a change stands at revision");
}
