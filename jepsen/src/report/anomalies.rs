//! What checkers found, and which operations it is about.

use std::collections::{BTreeMap, BTreeSet};

use super::{headline, spans::Span};
use crate::check::verdict::{Anomaly, Verdict};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found<'a> {
    pub(crate) checker: &'a str,
    pub(crate) anomaly: &'a Anomaly,
    /// Positions of operations.
    pub(crate) ops: BTreeSet<usize>,
}

impl Found<'_> {
    pub(crate) fn sentence(&self) -> String {
        headline::about(self.anomaly)
    }
}

/// All of it, in the order of the checkers.
pub(crate) fn of<'a>(verdicts: &'a [Verdict], spans: &[Span<'_>]) -> Vec<Found<'a>> {
    let by_index: BTreeMap<u64, usize> =
        spans.iter().enumerate().map(|(position, span)| (span.op.index, position)).collect();
    let by_version = by_version(spans);
    let found = |(checker, anomaly): (&'a str, &'a Anomaly)| {
        let mut ops: BTreeSet<usize> =
            anomaly.ops.iter().filter_map(|index| by_index.get(index).copied()).collect();
        if let (Some(session), Some(version)) = (&anomaly.session, anomaly.version) {
            ops.extend(by_version.get(&(session.as_str(), version)).into_iter().flatten());
        }
        Found { checker, anomaly, ops }
    };
    let all = verdicts.iter().flat_map(|verdict| {
        verdict.anomalies.iter().map(|anomaly| (verdict.checker.as_str(), anomaly))
    });
    all.map(found).collect()
}

/// Writes by the version that they answered.
fn by_version<'a>(spans: &[Span<'a>]) -> BTreeMap<(&'a str, u64), Vec<usize>> {
    let mut by_version: BTreeMap<(&str, u64), Vec<usize>> = BTreeMap::new();
    for (position, span) in spans.iter().enumerate().filter(|(_, span)| span.op.f.writes()) {
        let Some(answer) = span.op.answer() else { continue };
        let states = answer.as_array().map_or(std::slice::from_ref(answer), Vec::as_slice);
        for state in states {
            if let (Some(session), Some(version)) =
                (state["session_id"].as_str(), state["version"].as_u64())
            {
                by_version.entry((session, version)).or_default().push(position);
            }
        }
    }
    by_version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, history::op::F, report::spans};

    #[test]
    fn operations_are_named_or_found_by_their_version() {
        let mut example = Example::started();
        example.write(F::Switch, "s", 300);
        let run = example.run();
        let spans = spans::of(&run);
        let verdict = Verdict::of(
            "stream",
            vec![
                Anomaly::new("missed").session("s").at(13, 3),
                Anomaly::new("late").ops([spans[0].op.index, 999]),
                Anomaly::new("other").session("t").at(13, 3),
            ],
        );
        let verdicts = [verdict];
        let found = of(&verdicts, &spans);
        let ops: Vec<Vec<usize>> =
            found.iter().map(|found| found.ops.iter().copied().collect()).collect();
        assert_eq!(ops, [vec![2], vec![0], vec![]]);
        assert_eq!(found[0].sentence(), "s missed (revision 13, version 3)");
    }
}
