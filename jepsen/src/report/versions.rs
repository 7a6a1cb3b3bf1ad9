//! How sessions and nodes moved on: `versions.svg`.

use std::collections::BTreeMap;

use super::{
    bands::Bands,
    chart::{Entry, Sheet},
    clock::new_terms,
    scale::Axis,
    spans::{self, Span},
    words,
};
use crate::{
    history::tape::Update,
    test::run::{Run, Sample},
};

/// As many as there are colours.
const BUSIEST: usize = 8;

/// A line: its name, and when it was where. It breaks where there is nothing.
type Line<'a> = (&'a str, Vec<Option<(u64, f64)>>);

pub(super) fn chart(run: &Run, _: &[Span<'_>], bands: &Bands) -> String {
    let subtitle = "versions of sessions as subscribers first heard of them, and what nodes said of \
                    their logs; dotted, a new term";
    let mut sheet = Sheet::new(("Progress", subtitle), &[], spans::whole_ns(run), bands);
    let terms = new_terms(&run.samples);
    let what = [
        (
            240.0,
            "versions of the busiest sessions",
            busiest(run),
            "no subscriber heard of a version",
        ),
        (170.0, "entries that nodes have applied", applied(&run.samples), "no node said anything"),
        (90.0, "entries behind the furthest node", behind(&run.samples), "no node said anything"),
    ];
    for (height, name, lines, nothing) in &what {
        let values = lines.iter().flat_map(|(_, points)| points).flatten().map(|(_, value)| *value);
        let about = if *height < 100.0 { 3 } else { 5 };
        let axis = Axis::linear((0.0, values.fold(0.0, f64::max)), about);
        let panel = sheet.panel(*height, &axis, name);
        terms.iter().for_each(|at_ns| sheet.mark(panel, *at_ns, "shift"));
        let class = |number: usize| format!("curve s{}", number % 8);
        for (number, (title, points)) in lines.iter().enumerate() {
            sheet.path(&panel.curve(points.iter().copied()), &class(number), title);
        }
        let legend: Vec<(String, String)> = lines
            .iter()
            .enumerate()
            .map(|(number, (id, _))| (class(number), words::id(id)))
            .collect();
        let legend: Vec<Entry<'_>> =
            legend.iter().map(|(class, id)| (class.as_str(), id.as_str())).collect();
        sheet.legend(panel, name, &legend);
        if lines.is_empty() {
            sheet.nothing(panel, nothing);
        }
    }
    sheet.finish()
}

/// Sessions with the most changes.
fn busiest(run: &Run) -> Vec<Line<'_>> {
    let mut sessions: Vec<(&String, &Vec<Update>)> = run.tape.sessions.iter().collect();
    sessions.sort_by_key(|(_, updates)| std::cmp::Reverse(updates.len()));
    let lines = sessions.into_iter().take(BUSIEST);
    lines.map(|(session, updates)| (session.as_str(), steps(updates))).collect()
}

/// A session that was made anew begins a new line.
fn steps(updates: &[Update]) -> Vec<Option<(u64, f64)>> {
    let mut points = Vec::with_capacity(updates.len() * 2);
    let mut last: Option<u64> = None;
    for update in updates {
        if let Some(last) = last {
            let holds = last < update.version;
            points.push(holds.then_some((update.seen_ns, last as f64)));
        }
        points.push(Some((update.seen_ns, update.version as f64)));
        last = Some(update.version);
    }
    points
}

/// What each node said that it had applied; its line breaks where it did not answer.
fn applied(samples: &[Sample]) -> Vec<Line<'_>> {
    let mut nodes: BTreeMap<&str, Vec<Option<(u64, f64)>>> = BTreeMap::new();
    for sample in samples {
        let point = sample.answered.then_some((sample.time, sample.applied as f64));
        nodes.entry(&sample.node).or_default().push(point);
    }
    nodes.into_iter().collect()
}

/// How much less that is than what any of them had said by then.
fn behind(samples: &[Sample]) -> Vec<Line<'_>> {
    let mut nodes: BTreeMap<&str, Vec<Option<(u64, f64)>>> = BTreeMap::new();
    let mut furthest = 0;
    for sample in samples {
        furthest = furthest.max(sample.applied);
        let lag = (furthest - sample.applied) as f64;
        let point = sample.answered.then_some((sample.time, lag));
        nodes.entry(&sample.node).or_default().push(point);
    }
    nodes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, history::op::F, report::wellformed};

    #[test]
    fn sessions_and_nodes_have_lines() {
        let mut example = Example::started();
        example.create("<b>&", 250);
        example.write(F::Switch, "s", 300);
        example.write(F::Delete, "s", 320);
        example.create("s", 330);
        example.sample(400, 1, "n1");
        let mut run = example.run();
        run.samples[1].answered = false;
        let lines = busiest(&run);
        assert_eq!(lines[0].0, "s");
        let values: Vec<Option<f64>> =
            lines[0].1.iter().map(|point| point.map(|(_, value)| value)).collect();
        let expected = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0].map(Some);
        assert_eq!(values[..7], expected);
        assert_eq!(values[7..], [None, Some(1.0)], "it was made anew");
        assert_eq!(applied(&run.samples)[1], ("n2", vec![None]));
        run.samples[2].applied -= 3;
        let lag = behind(&run.samples)[2].1[0].map(|(_, lag)| lag);
        assert_eq!(lag, Some(3.0));
        let drawn = chart(&run, &[], &Bands::of(&run));
        wellformed::check(&drawn).unwrap();
        assert!(drawn.contains("&lt;b&gt;&amp;") && drawn.contains("<title>n3</title>"));
    }
}
