//! What operations asked of sessions: one act for each command, alone or in a batch.

use std::collections::BTreeMap;

use serde_json::Value;

use super::state;
use crate::{
    history::{
        op::F,
        pair::{Op, Outcome},
    },
    test::run::Run,
};

/// A command that took effect, or may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act<'a> {
    pub(crate) op: &'a Op,
    /// Never [`F::Batch`].
    pub(crate) f: F,
    pub(crate) session: &'a str,
    /// Its body; of a batch's command its part of the body.
    pub(crate) request: &'a Value,
    /// It cannot have taken effect earlier. A repeat under the same key is told of the first one.
    pub(crate) from_ns: u64,
    /// Nor later; `None` where nobody knows.
    pub(crate) until_ns: Option<u64>,
    /// Null of a delete; `None` where it only may have taken effect.
    pub(crate) answer: Option<&'a Value>,
}

impl Act<'_> {
    pub(crate) fn is_certain(&self) -> bool {
        self.answer.is_some()
    }

    /// May it have taken effect after `time_ns`?
    pub(crate) fn may_follow(&self, time_ns: u64) -> bool {
        self.until_ns.is_none_or(|until| time_ns <= until)
    }

    /// Nobody knows in which order the commands of one batch come here.
    pub(crate) fn may_come_after(&self, other: &Act<'_>) -> bool {
        self.may_follow(other.from_ns) || self.op.index == other.op.index
    }

    /// Of the answer, where it has one.
    pub(crate) fn version(&self) -> Option<u64> {
        self.answer.and_then(state::version)
    }
}

/// The acts of a run on each session, in the order of their invocations.
#[derive(Debug, Default)]
pub(crate) struct Acts<'a> {
    of: BTreeMap<&'a str, Vec<Act<'a>>>,
    /// Those that make sessions, and those that delete them: few among many.
    creates: BTreeMap<&'a str, Vec<Act<'a>>>,
    deletes: BTreeMap<&'a str, Vec<Act<'a>>>,
}

impl<'a> Acts<'a> {
    pub(crate) fn of(run: &'a Run) -> Self {
        let first_sent = first_sent(run);
        let mut acts = Self::default();
        for op in run.ops.iter().filter(|op| op.f.writes()) {
            let repeated = op.idem.as_deref().and_then(|key| first_sent.get(key).copied());
            let from_ns = repeated.unwrap_or(op.invoked_ns);
            let (until_ns, answer) = match &op.outcome {
                Outcome::Fail { .. } => continue,
                Outcome::Ok { value, .. } => (op.returned_ns, Some(value)),
                Outcome::Info { .. } => (None, None),
            };
            for (f, session, request, answer) in commands(op, answer) {
                let act = Act { op, f, session, request, from_ns, until_ns, answer };
                acts.of.entry(session).or_default().push(act);
                if f == F::Create {
                    acts.creates.entry(session).or_default().push(act);
                } else if f == F::Delete {
                    acts.deletes.entry(session).or_default().push(act);
                }
            }
        }
        acts
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &[Act<'a>])> {
        self.of.iter().map(|(session, acts)| (*session, acts.as_slice()))
    }

    /// Those on one session.
    pub(crate) fn on(&self, session: &str) -> &[Act<'a>] {
        self.of.get(session).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn deletes(&self, session: &str) -> &[Act<'a>] {
        self.deletes.get(session).map_or(&[], Vec::as_slice)
    }

    /// May the session have been deleted after `act`, or by the same batch?
    pub(crate) fn may_be_gone_after(&self, act: &Act<'_>) -> bool {
        self.deletes(act.session).iter().any(|delete| delete.may_come_after(act))
    }

    /// May the session have been made anew after `delete`, or by the same batch?
    pub(crate) fn may_be_back_after(&self, delete: &Act<'_>) -> bool {
        let creates = self.creates.get(delete.session);
        creates.into_iter().flatten().any(|create| create.may_come_after(delete))
    }
}

/// When each idempotency key was sent first.
pub(crate) fn first_sent(run: &Run) -> BTreeMap<&str, u64> {
    let mut first_sent: BTreeMap<&str, u64> = BTreeMap::new();
    for op in &run.ops {
        if let Some(key) = &op.idem {
            let first = first_sent.entry(key.as_str()).or_insert(op.invoked_ns);
            *first = op.invoked_ns.min(*first);
        }
    }
    first_sent
}

/// A command's kind, its session, its body, and its answer.
type Command<'a> = (F, &'a str, &'a Value, Option<&'a Value>);

/// The commands of an operation.
fn commands<'a>(op: &'a Op, answer: Option<&'a Value>) -> Vec<Command<'a>> {
    if op.f != F::Batch {
        let session = op.key.as_deref();
        return session.map(|session| (op.f, session, &op.request, answer)).into_iter().collect();
    }
    let given = op.request["commands"].as_array().map_or(&[][..], Vec::as_slice);
    let command = |(position, command): (usize, &'a Value)| {
        let f = command["action"].as_str().and_then(F::parse)?;
        let session = command["session_id"].as_str()?;
        Some((f, session, command, answer.map(|results| &results[position])))
    };
    given.iter().enumerate().filter_map(command).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::example::Example;

    #[test]
    fn batches_and_repeats_are_taken_apart() {
        let mut example = Example::new();
        let body = json!({"commands": [
            {"action": "start", "session_id": "a"},
            {"action": "delete", "session_id": "b"},
        ]});
        example.op((F::Batch, None), body, (10, 20), Ok(json!([{"version": 2}, null])));
        example.open(F::Switch, "a", (30, 40)).idem = Some(String::from("k"));
        example.op((F::Switch, Some("a")), Value::Null, (50, 60), Ok(json!({"version": 3})));
        example.last_event(2).idem = Some(String::from("k"));
        let run = example.run();
        let acts = Acts::of(&run);
        let told: Vec<_> =
            acts.of["a"].iter().map(|act| (act.f, act.from_ns, act.version())).collect();
        let ms = 1_000_000;
        let expected = [
            (F::Start, 10 * ms, Some(2)),
            (F::Switch, 30 * ms, None),
            (F::Switch, 30 * ms, Some(3)),
        ];
        assert_eq!(told, expected);
        assert_eq!(acts.of["b"][0].answer, Some(&Value::Null));
        assert!(acts.may_be_gone_after(&acts.of["b"][0]));
        assert!(!acts.may_be_back_after(&acts.of["b"][0]));
    }
}
