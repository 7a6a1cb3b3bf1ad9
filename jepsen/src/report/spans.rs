//! Operations with the moment at which they were over, whatever came of them.

use std::collections::BTreeMap;

use crate::{
    history::{
        op::{Kind, Process},
        pair::{Op, Outcome},
    },
    test::run::Run,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span<'a> {
    pub(crate) op: &'a Op,
    /// When it was answered or given up; none where the history ends before.
    pub(crate) ended_ns: Option<u64>,
}

impl Span<'_> {
    pub(crate) fn lasted_ns(&self) -> Option<u64> {
        self.ended_ns.map(|at| at.saturating_sub(self.op.invoked_ns))
    }

    /// The class that it is drawn with: `ok`, `fail` or `info`.
    pub(crate) const fn class(&self) -> &'static str {
        class(&self.op.outcome)
    }
}

/// In the order in which they are drawn, the rarest last.
pub(crate) const CLASSES: [&str; 3] = ["ok", "fail", "info"];

pub(crate) const fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok { .. } => "ok",
        Outcome::Fail { .. } => "fail",
        Outcome::Info { .. } => "info",
    }
}

/// All operations, in the order of their invocations.
pub(crate) fn of(run: &Run) -> Vec<Span<'_>> {
    let mut open: BTreeMap<u32, u64> = BTreeMap::new();
    let mut ended: BTreeMap<u64, u64> = BTreeMap::new();
    for event in &run.events {
        let Process::Client(process) = event.process else { continue };
        if event.kind == Kind::Invoke {
            open.insert(process, event.index);
        } else if let Some(invocation) = open.remove(&process) {
            ended.insert(invocation, event.time);
        }
    }
    let span = |op| Span { op, ended_ns: ended.get(&op.index).copied() };
    run.ops.iter().map(span).collect()
}

/// How long the test took, as far as anything is known of it; never nothing.
pub(crate) fn whole_ns(run: &Run) -> u64 {
    let events = run.events.iter().map(|event| event.time);
    let faults = run.faults.iter().map(|fault| fault.ended_ns);
    let samples = run.samples.iter().map(|sample| sample.time);
    events.chain(faults).chain(samples).max().unwrap_or(0).max(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, history::op::F};

    #[test]
    fn what_was_given_up_ended_too() {
        let mut example = Example::started();
        example.open(F::Pause, "s", (300, 5_300));
        example.open(F::Pause, "s", (400, 5_400));
        let mut run = example.run();
        run.events.pop();
        let spans = of(&run);
        let lasted: Vec<Option<u64>> =
            spans.iter().map(|span| span.lasted_ns().map(|ns| ns / 1_000_000)).collect();
        assert_eq!(lasted, [Some(4), Some(4), Some(5_000), None]);
        assert_eq!(spans[3].class(), "info");
        assert_eq!(whole_ns(&run), 5_300_000_000);
        assert_eq!(whole_ns(&Example::new().run()), 1_000_000_000);
    }
}
