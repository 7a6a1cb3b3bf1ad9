//! Promise P6: requests under one idempotency key have one effect and one answer between them, from
//! any node, through leader changes, restarts and snapshots.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    act::Acts,
    effects::explain::{PerKey, is_kept, refused_keys, unexplained},
    verdict::{Anomaly, Verdict},
};
use crate::{
    history::{
        op::{F, Failure},
        pair::{Op, Outcome},
    },
    test::run::Run,
};

/// Answers are kept for 24 hours of cluster time; an hour is left for what that may differ.
const KEPT_NS: u64 = 23 * 3_600 * 1_000_000_000;
/// And until 100,000 newer keys, or 64 MiB: so many certainly fit.
const KEPT_KEYS: usize = 20_000;

const REUSED: &str = "IDEMPOTENCY_KEY_REUSED";

pub fn check(run: &Run) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in run.ops.iter().filter(|op| op.f.writes()) {
        if let Some(key) = &op.idem {
            keys.entry(key).or_default().push(op);
        }
    }
    let retention = Retention::of(&keys);
    let mut judge = Judge { spelling: run.plan.bin_old.is_some(), anomalies: Vec::new() };
    let (mut repeats, mut answered, mut reused) = (0, 0, 0);
    for ops in keys.values() {
        let kept: Vec<&Op> = ops.iter().copied().filter(|op| retention.holds(ops, op)).collect();
        judge.one_answer(&kept);
        judge.reuse(&kept);
        repeats += ops.len() - 1;
        answered += ops.iter().filter(|op| first_answer(op).is_some()).count();
        reused += ops.iter().filter(|op| is_reuse(op)).count();
    }
    let Judge { mut anomalies, .. } = judge;
    let forgotten = keys.values().any(|ops| ops.iter().any(|op| !retention.holds(ops, op)));
    if !forgotten {
        anomalies.extend(effects(run));
    }
    Verdict::of("idempotency", anomalies)
        .with("keys", keys.len())
        .with("repeats", repeats)
        .with("answers", answered)
        .with("refused_for_reuse", reused)
}

/// For how long the product must remember.
struct Retention {
    /// When each key was sent first, in order.
    begun_ns: Vec<u64>,
}

impl Retention {
    fn of(keys: &BTreeMap<&str, Vec<&Op>>) -> Self {
        let mut begun_ns: Vec<u64> = keys.values().filter_map(|ops| first(ops)).collect();
        begun_ns.sort_unstable();
        Self { begun_ns }
    }

    /// Is the request certainly answered while the first answer is kept?
    fn holds(&self, ops: &[&Op], op: &Op) -> bool {
        let (Some(first), Some(last)) = (first(ops), self.begun_ns.last()) else { return true };
        let until = op.returned_ns.unwrap_or(*last);
        let up_to = |time| self.begun_ns.partition_point(|begun| *begun <= time);
        until.saturating_sub(first) < KEPT_NS && up_to(until) - up_to(first) < KEPT_KEYS
    }
}

fn first(ops: &[&Op]) -> Option<u64> {
    ops.iter().map(|op| op.invoked_ns).min()
}

/// An answer that every repeat gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer<'a> {
    Done(u16, &'a Value),
    Refused(u16, &'a Failure),
}

fn first_answer(op: &Op) -> Option<Answer<'_>> {
    match &op.outcome {
        Outcome::Ok { status, value } => Some(Answer::Done(*status, value)),
        Outcome::Fail { status: Some(status), error } if is_kept(op) => {
            Some(Answer::Refused(*status, error))
        }
        Outcome::Fail { .. } | Outcome::Info { .. } => None,
    }
}

fn is_reuse(op: &Op) -> bool {
    op.failure().is_some_and(|error| error.kind == REUSED)
}

/// What a request means: no body is an empty one.
fn meaning(op: &Op) -> (F, Option<&str>, Value) {
    let empty = op.request.as_object().is_some_and(serde_json::Map::is_empty);
    let body = if empty { Value::Null } else { op.request.clone() };
    (op.f, op.key.as_deref(), body)
}

struct Judge {
    /// Nodes of two versions answered, each in its own spelling.
    spelling: bool,
    anomalies: Vec<Anomaly>,
}

impl Judge {
    /// Everybody who was answered was told the same, and asked for the same.
    fn one_answer(&mut self, ops: &[&Op]) {
        let mut answers = ops.iter().filter_map(|op| Some((*op, first_answer(op)?)));
        let Some((first, told)) = answers.next() else { return };
        for (op, again) in answers {
            let what = if meaning(op) != meaning(first) {
                format!(
                    "two different requests were answered under one key, the second with {}",
                    shown(again)
                )
            } else if self.same(&told, &again) {
                continue;
            } else {
                format!("a repeat was answered {}, and first {}", shown(again), shown(told))
            };
            self.report(what, [first, op]);
        }
    }

    /// A key is refused to those who come with another request than the first, and to nobody else.
    fn reuse(&mut self, ops: &[&Op]) {
        for op in ops.iter().copied().filter(|op| is_reuse(op)) {
            let same = |other: &&Op| meaning(other) == meaning(op);
            let mut answered = ops.iter().copied().filter(|other| first_answer(other).is_some());
            let rightful = answered.find(same);
            if let Some(rightful) = rightful {
                self.report("a key was refused to the request that it is for", [rightful, op]);
                continue;
            }
            let before = |other: &&Op| Some(other.invoked_ns) <= op.returned_ns && !same(other);
            if !ops.iter().any(before) {
                self.report("a key was refused that no other request had", [op]);
            }
        }
    }

    fn same(&self, told: &Answer<'_>, again: &Answer<'_>) -> bool {
        match (told, again) {
            (Answer::Done(status, value), Answer::Done(other, repeated)) => {
                status == other && (value == repeated || self.spelling && agree(value, repeated))
            }
            (Answer::Refused(status, error), Answer::Refused(other, repeated)) => {
                status == other
                    && error.kind == repeated.kind
                    && error.details == repeated.details
                    && error.context == repeated.context
            }
            (Answer::Done(..), Answer::Refused(..)) | (Answer::Refused(..), Answer::Done(..)) => {
                false
            }
        }
    }

    fn report<'o>(&mut self, what: impl Into<String>, ops: impl IntoIterator<Item = &'o Op>) {
        let ops: Vec<&Op> = ops.into_iter().collect();
        let mut anomaly = Anomaly::new(what).ops(ops.iter().map(|op| op.index));
        if let Some(last) = ops.last() {
            anomaly.session.clone_from(&last.key);
            anomaly.node = Some(last.node.clone());
            anomaly.time_ns = last.returned_ns;
        }
        self.anomalies.push(anomaly);
    }
}

/// The fields that both have are the same.
fn agree(value: &Value, other: &Value) -> bool {
    match (value, other) {
        (Value::Object(fields), Value::Object(others)) => fields
            .iter()
            .filter_map(|(name, field)| Some((field, others.get(name)?)))
            .all(|(field, other)| agree(field, other)),
        (Value::Array(parts), Value::Array(others)) => {
            parts.len() == others.len()
                && parts.iter().zip(others).all(|(part, other)| agree(part, other))
        }
        (_, _) => value == other,
    }
}

fn shown(answer: Answer<'_>) -> String {
    match answer {
        Answer::Done(status, value) => match value.get("version") {
            Some(version) => format!("{status} with version {version}"),
            None => status.to_string(),
        },
        Answer::Refused(status, error) => format!("{status} {}", error.kind),
    }
}

/// Changes that are explained only if requests under one key took effect more than once, or after
/// the key was answered with a refusal.
fn effects(run: &Run) -> Vec<Anomaly> {
    let acts = Acts::of(run);
    let refused = refused_keys(run);
    let mut anomalies = Vec::new();
    for (session, updates) in &run.tape.sessions {
        let on = acts.on(session);
        if on.iter().all(|act| act.op.idem.is_none()) {
            continue;
        }
        let each_time = unexplained(updates, on, (PerKey::EachTime, &refused));
        let once = unexplained(updates, on, (PerKey::Once, &refused));
        let excess = once.len().saturating_sub(each_time.len());
        let known: BTreeSet<(u64, u64)> =
            each_time.iter().map(|update| (update.revision, update.version)).collect();
        let left =
            once.into_iter().filter(|update| !known.contains(&(update.revision, update.version)));
        for update in left.take(excess) {
            let keyed = on.iter().filter(|act| act.op.idem.is_some() && !act.is_certain());
            let ops = keyed.map(|act| act.op.index).take(8);
            let what = "a request had more than one effect under one key, or one after its refusal";
            let anomaly = Anomaly::new(what).session(session).ops(ops);
            anomalies.push(anomaly.at(update.revision, update.version).time(update.seen_ns));
        }
    }
    anomalies
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        check::{
            example::{Example, reread},
            verdict::Validity,
        },
        history::op::{Event, Kind, Process},
    };

    const MS: u64 = 1_000_000;

    /// Gives the last operation a key.
    fn keyed(example: &mut Example, key: &str) {
        for back in 1..=2 {
            example.last_event(back).idem = Some(key.to_owned());
        }
    }

    fn repeat(example: &mut Example, f: F, (request, key): (Value, &str), at: u64) {
        example.op((f, Some("s")), request, (at, at + 4), Ok(Value::Null));
        keyed(example, key);
    }

    fn refuse(event: &mut Event, status: u16, kind: &str, context: Value) {
        (event.kind, event.status, event.value) = (Kind::Fail, Some(status), Value::Null);
        let (kind, effect) = (kind.to_owned(), String::from("none"));
        event.error = Some(Failure { kind, effect, context, ..Failure::default() });
    }

    /// Key `a` is for a switch at 300 that is answered three times and refused to another request;
    /// `b` for a start that is refused twice; `c` for a pause at 500 whose first answer got lost.
    fn good() -> Example {
        let mut example = Example::started();
        example.write(F::Switch, "s", 300);
        let answer = example.last_event(1).value.clone();
        keyed(&mut example, "a");
        for (at, body) in [(302, Value::Null), (900, json!({}))] {
            repeat(&mut example, F::Switch, (body, "a"), at);
            example.last_event(1).value = answer.clone();
        }
        repeat(&mut example, F::Switch, (json!({"expected_version": 9}), "a"), 310);
        refuse(example.last_event(1), 422, REUSED, json!({"idempotency_key": "a"}));
        for at in [400, 800] {
            repeat(&mut example, F::Start, (Value::Null, "b"), at);
            let running = json!({"status": "running"});
            refuse(example.last_event(1), 400, "INVALID_SESSION_STATE", running);
        }
        example.open(F::Pause, "s", (480, 490));
        keyed(&mut example, "c");
        repeat(&mut example, F::Pause, (Value::Null, "c"), 492);
        refuse(example.last_event(1), 503, "NO_LEADER", Value::Null);
        example.write(F::Pause, "s", 500);
        keyed(&mut example, "c");
        example.write(F::Resume, "s", 600);
        example.open(F::Delete, "s", (650, 660));
        keyed(&mut example, "d");
        example.end(2_000);
        example
    }

    fn changed(change: impl Fn(&mut Run)) -> Verdict {
        let mut run = good().run();
        change(&mut run);
        reread(&mut run);
        check(&run)
    }

    /// The answer to the command that was sent at `at`.
    fn answer_at(run: &mut Run, at: u64) -> &mut Event {
        let process = run.events.iter().find(|event| event.time == at * MS).unwrap().process;
        run.events.iter_mut().rfind(|event| event.process == process).unwrap()
    }

    /// What was sent at `at` is sent at `again` too, by somebody who is not answered.
    fn sent_again(run: &mut Run, at: u64, again: u64) {
        let mut event = run.events.iter().find(|event| event.time == at * MS).unwrap().clone();
        (event.time, event.process) = (again * MS, Process::Client(900));
        run.events.push(event);
    }

    #[test]
    fn repeats_with_one_answer_are_accepted() {
        let verdict = check(&good().run());
        assert_eq!(verdict.valid, Validity::Valid, "{:#?}", verdict.anomalies);
        assert_eq!(verdict.facts["keys"], 4);
        assert_eq!(verdict.facts["repeats"], 6);
        assert_eq!(verdict.facts["answers"], 6);
        assert_eq!(verdict.facts["refused_for_reuse"], 1);
    }

    #[test]
    fn what_may_be_is_accepted() {
        let cases: [(&str, Verdict); 5] = [
            ("a repeat without an answer", changed(|run| sent_again(run, 300, 304))),
            (
                "nobody was answered, and it took effect once",
                changed(|run| {
                    sent_again(run, 500, 502);
                    run.events.retain(|event| event.time != 504 * MS);
                }),
            ),
            (
                "the other request came first, and nobody was answered",
                changed(|run| {
                    let answers = [304, 306, 904];
                    run.events.retain(|event| answers.iter().all(|at| event.time != at * MS));
                }),
            ),
            (
                "a repeat after more than a day",
                changed(|run| {
                    let day = 24 * 3_600 * 1_000 * MS;
                    answer_at(run, 900).value["version"] = json!(5);
                    for event in run.events.iter_mut().filter(|event| event.time >= 900 * MS) {
                        event.time += day;
                    }
                }),
            ),
            (
                "two versions of a program, of which one says more",
                changed(|run| {
                    run.plan.bin_old = Some("old".into());
                    answer_at(run, 900).value["added_later"] = json!(true);
                }),
            ),
        ];
        for (case, verdict) in cases {
            assert_eq!(verdict.valid, Validity::Valid, "{case}: {:#?}", verdict.anomalies);
        }
    }

    #[test]
    fn second_answers_are_found() {
        let cases: [(&str, Verdict); 7] = [
            ("anew", changed(|run| answer_at(run, 900).value["version"] = json!(5))),
            (
                "refused at the second time",
                changed(|run| {
                    refuse(answer_at(run, 302), 409, "CONCURRENT_MODIFICATION", Value::Null);
                }),
            ),
            (
                "refused otherwise",
                changed(|run| {
                    answer_at(run, 800).error.as_mut().unwrap().context["status"] = json!("paused");
                }),
            ),
            (
                "another request carried out",
                changed(|run| {
                    let answer = answer_at(run, 300).clone();
                    let other = answer_at(run, 310);
                    (other.kind, other.status, other.error) = (Kind::Ok, Some(200), None);
                    other.value = answer.value;
                }),
            ),
            (
                "the key refused to its own request",
                changed(|run| refuse(answer_at(run, 900), 422, REUSED, Value::Null)),
            ),
            (
                "a key refused that nobody else had",
                changed(|run| {
                    run.events.retain(|event| event.idem.as_deref() != Some("b"));
                    refuse(answer_at(run, 492), 422, REUSED, Value::Null);
                    run.events.retain(|event| event.time != 504 * MS);
                }),
            ),
            ("another status", changed(|run| answer_at(run, 302).status = Some(201))),
        ];
        for (case, verdict) in cases {
            assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
        }
    }

    #[test]
    fn second_effects_are_found() {
        let no_answer = |event: &mut Event| {
            (event.kind, event.status, event.value) = (Kind::Info, None, Value::Null);
            event.error = Some(Failure { kind: String::from("CUT"), ..Failure::default() });
        };
        let cases: [(&str, Verdict); 3] = [
            (
                "one was answered, and the lost one had another",
                changed(|run| {
                    // The resume was a second pause in truth, which nobody was answered.
                    run.events.retain(|event| event.f != "resume");
                    crate::check::example::retell(run, "s", 5, |message| {
                        message["cause"]["type"] = json!("paused");
                    });
                }),
            ),
            (
                "none was answered",
                changed(|run| {
                    run.events.retain(|event| event.f != "resume");
                    crate::check::example::retell(run, "s", 5, |message| {
                        message["cause"]["type"] = json!("paused");
                    });
                    no_answer(answer_at(run, 500));
                }),
            ),
            (
                "refused, and carried out",
                changed(|run| {
                    let resumed = answer_at(run, 600);
                    no_answer(resumed);
                    let process = resumed.process;
                    for event in run.events.iter_mut().filter(|event| event.process == process) {
                        event.idem = Some(String::from("e"));
                    }
                    let mut refused = answer_at(run, 600).clone();
                    (refused.time, refused.process) = (700 * MS, Process::Client(900));
                    let mut asked = refused.clone();
                    (asked.kind, asked.time, asked.error) = (Kind::Invoke, 690 * MS, None);
                    refuse(&mut refused, 404, "SESSION_NOT_FOUND", Value::Null);
                    run.events.extend([asked, refused]);
                }),
            ),
        ];
        for (case, verdict) in cases {
            assert_eq!(verdict.anomalies.len(), 1, "{case}: {:#?}", verdict.anomalies);
            assert!(verdict.anomalies[0].version.is_some(), "{case}");
        }
    }
}
