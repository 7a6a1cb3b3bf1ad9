//! Promises P1 and P2 from outside: for every session there is one order of all operations on it,
//! each at some moment between its invocation and its answer, in which a small model of a session
//! answers as the cluster did.
//!
//! Revisions are left out of account, and so is the order in which subscribers heard of things: the
//! checkers that trust them are others. Sessions are judged one by one, which is enough, since an
//! object that is linearizable part by part is linearizable as a whole; a batch is judged as one
//! command for each of its sessions, which is necessary and not sufficient.

pub mod explain;
pub mod generate;
pub(crate) mod model;
#[cfg(test)]
mod naive_tests;
mod patch;
pub(crate) mod search;
mod task;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use self::{
    explain::{Explanation, explanation},
    search::{Answer, Found, Task, search},
    task::Source,
};
use super::verdict::{Anomaly, Validity, Verdict};
use crate::test::run::Run;

/// How many configurations a search may look at: of one session, and of a whole run. About 60 s.
/// Counts and not times, so that a run is judged the same on every machine.
#[derive(Clone, Copy, Debug)]
struct Budget {
    session: u64,
    run: u64,
}

/// With what subscribers tell of unknown outcomes there is little to look at.
const PATCHED: Budget = Budget { session: 400_000, run: 6_000_000 };
/// Without it there may be no end.
const UNPATCHED: Budget = Budget { session: 100_000, run: 1_500_000 };

pub fn check(run: &Run) -> Verdict {
    let source = Source::of(run);
    let (mut patched, mut unpatched) = (Judge::new(PATCHED), Judge::new(UNPATCHED));
    let (mut operations, mut open, mut closed, mut dropped) = (0_usize, 0_usize, 0, 0);
    for session in source.sessions() {
        let tasks = source.tasks(session);
        let entries = &tasks.unpatched.entries;
        operations += entries.len();
        open += entries.iter().filter(|entry| entry.until_ns.is_none()).count();
        let Some(known) = &tasks.patched else {
            let answer = patched.judge(session, &tasks.unpatched);
            unpatched.count(answer);
            continue;
        };
        closed += known.closed;
        dropped += known.dropped;
        // One that the stronger search refutes needs no other.
        if patched.judge(session, &known.task) != Answer::Illegal {
            unpatched.judge(session, &tasks.unpatched);
        }
    }
    let (known, pure) = (patched.fact(), unpatched.fact());
    let out_of_budget = patched.out_of_budget;
    let mut anomalies = patched.anomalies;
    anomalies.extend(unpatched.anomalies);
    let verdict = Verdict::of("linear", anomalies)
        .with("sessions", source.sessions().len())
        .with("operations", operations)
        .with("unknown_outcomes", open)
        .with("closed_by_the_tape", closed)
        .with("dropped_by_the_tape", dropped)
        .with("patched", known)
        .with("unpatched", pure);
    if 0 < out_of_budget {
        let why = format!("{out_of_budget} sessions have too many orders to try");
        return verdict.unknown(why);
    }
    if operations == 0 {
        return verdict.unknown("nothing was done");
    }
    verdict
}

/// The order of one session's operations, as far as there is one; `None` where nothing was asked of
/// it.
pub fn explain(run: &Run, session: &str) -> Option<Explanation> {
    let source = Source::of(run);
    if !source.sessions().contains(session) {
        return None;
    }
    let tasks = source.tasks(session);
    let task = tasks.patched.as_ref().map_or(&tasks.unpatched, |patched| &patched.task);
    Some(explanation(task, &search(task, PATCHED.session)))
}

/// Every session that anybody asked anything of, with the operations that are judged.
pub(crate) fn judged(run: &Run) -> impl Iterator<Item = (&str, Task)> {
    let source = Source::of(run);
    let sessions = source.sessions();
    sessions.into_iter().map(move |session| {
        let tasks = source.tasks(session);
        (session, tasks.patched.map_or(tasks.unpatched, |patched| patched.task))
    })
}

/// Judges session after session within a budget.
struct Judge {
    budget: Budget,
    explored: u64,
    out_of_budget: u64,
    illegal: u64,
    anomalies: Vec<Anomaly>,
}

impl Judge {
    const fn new(budget: Budget) -> Self {
        let anomalies = Vec::new();
        Self { budget, explored: 0, out_of_budget: 0, illegal: 0, anomalies }
    }

    fn judge(&mut self, session: &str, task: &Task) -> Answer {
        let left = self.budget.run.saturating_sub(self.explored);
        let found = search(task, left.min(self.budget.session));
        self.explored += found.explored;
        self.count(found.answer);
        if found.answer == Answer::Illegal {
            self.anomalies.push(anomaly(session, task, &found));
        }
        found.answer
    }

    const fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Legal => {}
            Answer::Illegal => self.illegal += 1,
            Answer::OutOfBudget => self.out_of_budget += 1,
        }
    }

    fn fact(&self) -> Value {
        let valid = match (self.illegal, self.out_of_budget) {
            (0, 0) => Validity::Valid,
            (0, _) => Validity::Unknown,
            (_, _) => Validity::Invalid,
        };
        json!({
            "valid?": valid, "configurations": self.explored, "illegal": self.illegal,
            "out_of_budget": self.out_of_budget,
        })
    }
}

/// How many of the operations that went before are named.
const NAMED_BEFORE: usize = 5;

fn anomaly(session: &str, task: &Task, found: &Found) -> Anomaly {
    let explanation = explanation(task, found);
    let before: Vec<u64> = explanation
        .order
        .iter()
        .rev()
        .flat_map(|step| step.ops.clone())
        .take(NAMED_BEFORE)
        .collect();
    let stuck = explanation.stuck.iter().flat_map(|step| step.ops.clone());
    let mut anomaly = Anomaly::new(explanation.sentence()).session(session).ops(stuck).ops(before);
    anomaly.time_ns = explanation.stuck.first().map(|step| step.from_ns);
    anomaly
}
