//! From a run to the operations on each session.
//!
//! A batch is taken apart: each command has the batch's window. Requests under one idempotency key
//! are one operation, from the first time that it was sent to the first good answer. What the
//! clock did is on the tape of the subscribers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    model::{Action, Call, Seen, Spec, Status},
    patch,
    search::{Entry, Task},
};
use crate::{
    check::{
        act::{Act, Acts, first_sent},
        state::{version, word},
    },
    history::{
        op::F,
        pair::{Op, Outcome},
        tape::Update,
    },
    test::run::Run,
};

/// A clock that is so far from falling due in a run is left out of account.
const SLACK_MS: u64 = 10_000;

/// The operations on one session: as they are, and with what subscribers say of those whose
/// outcome is unknown, where that is another matter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tasks {
    pub(crate) unpatched: Task,
    pub(crate) patched: Option<patch::Patched>,
}

/// Everything that operations say of sessions, to make tasks of.
pub(crate) struct Source<'a> {
    run: &'a Run,
    acts: Acts<'a>,
    /// What only looks, by session.
    looks: BTreeMap<&'a str, Vec<Look<'a>>>,
    /// No clock runs longer than this in the run, with plenty to spare.
    longest_ms: u64,
}

/// A read, or a refusal that says something about the session.
#[derive(Clone, Copy)]
struct Look<'a> {
    op: &'a Op,
    from_ns: u64,
    f: F,
    request: &'a Value,
}

impl<'a> Source<'a> {
    pub(crate) fn of(run: &'a Run) -> Self {
        let first_sent = first_sent(run);
        let mut looks: BTreeMap<&str, Vec<Look<'_>>> = BTreeMap::new();
        for op in &run.ops {
            let first = op.idem.as_deref().and_then(|key| first_sent.get(key).copied());
            let from_ns = first.unwrap_or(op.invoked_ns);
            if let Some((session, f, request)) = looks_at(op) {
                looks.entry(session).or_default().push(Look { op, from_ns, f, request });
            }
        }
        let last_ns = run.events.last().map_or(0, |event| event.time);
        let longest_ms = 2 * (last_ns / 1_000_000) + SLACK_MS;
        Self { run, acts: Acts::of(run), looks, longest_ms }
    }

    /// Sessions that anybody asked anything of.
    pub(crate) fn sessions(&self) -> BTreeSet<&'a str> {
        self.looks.keys().copied().chain(self.acts.iter().map(|(session, _)| session)).collect()
    }

    pub(crate) fn tasks(&self, session: &str) -> Tasks {
        let acts = self.acts.iter().find(|(id, _)| *id == session).map_or(&[][..], |(_, of)| of);
        let updates = self.run.tape.sessions.get(session).map_or(&[][..], Vec::as_slice);
        let mut spec = self.spec(acts, updates);
        let mut entries = of_acts(acts, &mut spec);
        for look in self.looks.get(session).into_iter().flatten() {
            entries.extend(look.entry(&mut spec));
        }
        entries.extend(self.endings(session, &mut spec));
        entries.extend(updates.iter().filter_map(|update| own(update, &mut spec)));
        let mut unpatched = Task { spec, entries };
        unpatched.spec.version_max = unpatched.version_shown();
        let patched = patch::patch(self.run, session, (updates, acts), &unpatched);
        Tasks { unpatched, patched }
    }

    fn spec(&self, acts: &[Act<'_>], updates: &[Update]) -> Spec {
        let creates: Vec<&Act<'_>> = acts.iter().filter(|act| act.f == F::Create).collect();
        // Requests under one key make one session at most.
        let name = |act: &&Act<'_>| match act.op.idem.as_deref() {
            Some(key) => (Some(key.to_owned()), 0),
            None => (None, act.op.index),
        };
        let made = creates.iter().map(name).collect::<BTreeSet<_>>().len();
        let births = updates.iter().filter(|update| update.version == 1).count();
        let deleted = updates.iter().position(|update| update.state.is_none());
        let lives_once =
            made <= 1 && births <= 1 && deleted.is_none_or(|place| place + 1 == updates.len());
        let mut spec = Spec { lives_once, falls_due: true, skips: true, ..Spec::default() };
        let told = updates.iter().filter(|update| update.state.is_some());
        spec.told = told.map(|update| update.version).collect();
        if !lives_once {
            return spec;
        }
        let has_seats = |state: &&Value| state["participants"].is_array();
        let asked = creates.iter().map(|act| act.request).find(has_seats);
        let shown = || {
            let told = updates.iter().filter_map(|update| update.state.as_ref());
            let answers = acts.iter().filter_map(|act| act.answer);
            told.chain(answers).find(|state| has_seats(state) && state["sync_mode"].is_string())
        };
        let Some(made) = asked.or_else(shown) else { return spec };
        for seat in made["participants"].as_array().into_iter().flatten() {
            spec.seat(seat["participant_id"].as_str().unwrap_or_default());
        }
        spec.in_order = true;
        spec.skips = made["on_timeout"]["type"] == "skip_cycle"
            || made["action_on_timeout"]["type"] == "skip_cycle"
            || made["auto_advance"] == true;
        spec.falls_due =
            made["on_outage"] == "freeze" || shortest_ms(made) <= Some(self.longest_ms);
        if asked.is_some() {
            let first = made["active_participant_id"].as_str().map(|id| spec.seat(id));
            spec.first = Some(first.unwrap_or(0));
        }
        spec
    }

    /// What nodes said at the very end: reads like any other, after all else.
    fn endings(&self, session: &str, spec: &mut Spec) -> Vec<Entry> {
        let nodes = self.run.ending.nodes.iter();
        let ends = nodes.filter_map(|node| node.sessions.get(session));
        let looked: BTreeSet<Call> = ends
            .filter_map(|end| match seen(end, spec) {
                Some(seen) => Some(Call::of(Action::Read).seeing(Some(seen))),
                None => end.is_null().then_some(Call::of(Action::Missing)),
            })
            .collect();
        let (from_ns, until_ns) = (self.run.ending.quiet_ns, Some(u64::MAX));
        let entry = |call| Entry { call, from_ns, until_ns, ops: Vec::new() };
        looked.into_iter().map(entry).collect()
    }
}

/// The shortest time that any clock of the session has, in milliseconds.
fn shortest_ms(made: &Value) -> Option<u64> {
    let rows = |name: &str| made[name].as_array().map_or(&[][..], Vec::as_slice);
    let mut times: Vec<&Value> = ["total_time_ms", "time_per_cycle_ms", "max_time_ms"]
        .into_iter()
        .map(|name| &made[name])
        .collect();
    for row in rows("participants").iter().chain(rows("groups")) {
        times.push(&row["total_time_ms"]);
    }
    times.into_iter().filter_map(Value::as_u64).min()
}

/// The session that an operation tells of without changing it, and the command that asked.
fn looks_at(op: &Op) -> Option<(&str, F, &Value)> {
    match &op.outcome {
        Outcome::Ok { .. } => {
            (op.f == F::Read).then_some(())?;
            Some((op.key.as_deref()?, op.f, &op.request))
        }
        Outcome::Fail { status: Some(_), error } if op.f != F::StaleRead && op.f != F::List => {
            if op.f != F::Batch {
                return Some((op.key.as_deref()?, op.f, &op.request));
            }
            let place = usize::try_from(error.context["index"].as_u64()?).ok()?;
            let commands = op.request["commands"].as_array()?;
            let command = commands.get(place)?;
            let session = command["session_id"].as_str()?;
            // A second command of a batch speaks of what the first one would have done.
            let once = commands.iter().filter(|other| other["session_id"] == session).count() == 1;
            let f = command["action"].as_str().and_then(F::parse)?;
            once.then_some((session, f, command))
        }
        Outcome::Fail { .. } | Outcome::Info { .. } => None,
    }
}

impl Look<'_> {
    fn entry(&self, spec: &mut Spec) -> Option<Entry> {
        let call = match &self.op.outcome {
            Outcome::Ok { value, .. } => Call::of(Action::Read).seeing(Some(seen(value, spec)?)),
            Outcome::Fail { error, .. } => {
                let (context, details) = (&error.context, &error.details);
                let number = |name: &str| details[name].as_u64().or_else(|| context[name].as_u64());
                let mut seat = |name: &str| context[name].as_str().map(|id| spec.seat(id));
                let action = match error.kind.as_str() {
                    "SESSION_NOT_FOUND" if self.f != F::Create => Action::Missing,
                    "SESSION_EXISTS" => Action::Exists,
                    "INVALID_SESSION_STATE" | "PARTICIPANT_EXPIRED" => {
                        let status = Status::parse(word(context, "status"))?;
                        Action::Refused { f: self.f, status }
                    }
                    "CONCURRENT_MODIFICATION" => match number("actual_version") {
                        Some(actual) => {
                            Action::Conflict { wanted: number("expected_version")?, actual }
                        }
                        None => Action::NotCurrent {
                            wanted: Some(seat("expected_participant_id")?),
                            actual: Some(seat("actual_participant_id")?),
                        },
                    },
                    _ => return None,
                };
                Call { expected: self.request["expected_version"].as_u64(), ..Call::of(action) }
            }
            Outcome::Info { .. } => return None,
        };
        let until_ns = Some(self.op.returned_ns?);
        Some(Entry { call, from_ns: self.from_ns, until_ns, ops: vec![self.op.index] })
    }
}

/// What a state or a switch's answer shows.
pub(crate) fn seen(state: &Value, spec: &mut Spec) -> Option<Seen> {
    let status = Status::parse(state["status"].as_str()?)?;
    let active = state["active_participant_id"].as_str().map(|id| spec.seat(id));
    Some(Seen { version: version(state)?, status, active })
}

fn action(f: F, request: &Value, spec: &mut Spec) -> Option<Action> {
    let mut seat = |name: &str| request[name].as_str().map(|id| spec.seat(id));
    Some(match f {
        F::Create => Action::Create,
        F::Start => Action::Start,
        F::Switch => Action::Switch {
            current: seat("current_participant_id"),
            next: seat("next_participant_id"),
        },
        F::Pause => Action::Pause,
        F::Resume => Action::Resume,
        F::Complete => Action::Complete,
        F::Delete => Action::Delete,
        F::Read | F::StaleRead | F::List | F::Batch | F::Time => return None,
    })
}

/// Requests of one operation: under one key, of one body, and the same one of its batch.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a> {
    idem: Option<&'a str>,
    index: Option<u64>,
    body: String,
    nth: usize,
}

/// The commands that took effect, or may have.
fn of_acts(acts: &[Act<'_>], spec: &mut Spec) -> Vec<Entry> {
    let mut operations: BTreeMap<Name<'_>, Vec<&Act<'_>>> = BTreeMap::new();
    let (mut last, mut nth) = (None, 0);
    for act in acts {
        nth = if last == Some(act.op.index) { nth + 1 } else { 0 };
        last = Some(act.op.index);
        let idem = act.op.idem.as_deref();
        let body = if idem.is_some() { act.op.request.to_string() } else { String::new() };
        let index = idem.is_none().then_some(act.op.index);
        operations.entry(Name { idem, index, body, nth }).or_default().push(act);
    }
    operations.values().flat_map(|acts| operation(acts, spec)).collect()
}

/// One entry; more where its requests were answered differently, which cannot be.
fn operation(acts: &[&Act<'_>], spec: &mut Spec) -> Vec<Entry> {
    let Some(first) = acts.first() else { return Vec::new() };
    let Some(action) = action(first.f, first.request, spec) else { return Vec::new() };
    let expected = first.request["expected_version"].as_u64();
    let call = Call { expected, ..Call::of(action) };
    let from_ns = acts.iter().map(|act| act.from_ns).min().unwrap_or(0);
    let ops: Vec<u64> = acts.iter().map(|act| act.op.index).collect();
    let mut answers: BTreeMap<Option<Seen>, u64> = BTreeMap::new();
    for act in acts {
        let Some((answer, until_ns)) = act.answer.zip(act.until_ns) else { continue };
        let first = answers.entry(seen(answer, spec)).or_insert(until_ns);
        *first = until_ns.min(*first);
    }
    if answers.is_empty() {
        return vec![Entry { call, from_ns, until_ns: None, ops }];
    }
    let entry = |(seen, until_ns)| Entry {
        call: call.clone().seeing(seen),
        from_ns,
        until_ns: Some(until_ns),
        ops: ops.clone(),
    };
    answers.into_iter().map(entry).collect()
}

/// What the clock did, as subscribers were told. It had happened when the first one was.
fn own(update: &Update, spec: &mut Spec) -> Option<Entry> {
    let by_itself = ["timeout", "auto"].contains(&word(&update.cause, "reason"));
    let seen = seen(update.state.as_ref()?, spec).filter(|_| by_itself)?;
    let call = Call::of(Action::Own).seeing(Some(seen));
    Some(Entry { call, from_ns: 0, until_ns: Some(update.seen_ns), ops: Vec::new() })
}
