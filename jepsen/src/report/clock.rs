//! Where cluster time can have been, against the runner's clock: `clock.svg`.

use std::collections::BTreeMap;

use super::{
    bands::Bands,
    chart::Sheet,
    scale::Axis,
    spans::{self, Span},
};
use crate::{
    check::clock::{self, Point},
    test::run::{Run, Sample},
};

/// Half as many windows as the chart has pixels.
const WINDOWS: u64 = 500;
/// What stands out is drawn at the edge; the rest decides how far the axis goes.
const PERCENT_WITHIN: usize = 96;

pub(super) fn chart(run: &Run, _: &[Span<'_>], bands: &Bands) -> String {
    let whole_ns = spans::whole_ns(run);
    let points = thinned(&clock::series(run), whole_ns);
    let told = told(&run.samples, &points);
    let names: Vec<&str> = told.keys().copied().collect();
    let mut legend = vec![("range", "by the stamps of answers")];
    let classes: Vec<String> =
        (0..names.len()).map(|number| format!("curve thin s{}", (number + 1) % 8)).collect();
    legend.extend(classes.iter().map(String::as_str).zip(names.iter().copied()));
    legend.push(("curve shift", "a new term"));
    let subtitle = "cluster time minus the runner's clock, in ms from where it was at first: where \
                    it can be, and what nodes said; what stands out is cut off at the edge";
    let mut sheet = Sheet::new(("Cluster time", subtitle), &legend, whole_ns, bands);
    let panel = sheet.panel(380.0, &Axis::linear(range(&points, &told), 8), "");
    let area: Vec<(u64, f64, f64)> =
        points.iter().map(|point| (point.time_ns, point.low_ms, point.high_ms)).collect();
    sheet.path(&panel.between(&area), "range", "");
    for at_ns in new_terms(&run.samples) {
        sheet.mark(panel, at_ns, "shift");
    }
    for ((name, told), class) in told.iter().zip(&classes) {
        let line = panel.curve(told.iter().copied());
        sheet.path(&line, class, name);
    }
    if points.is_empty() && told.is_empty() {
        sheet.nothing(panel, "nothing says where cluster time was");
    }
    sheet.finish()
}

/// Of the points of one window what all of them allow, or any of them where they contradict each
/// other.
fn thinned(points: &[Point], whole_ns: u64) -> Vec<Point> {
    let width_ns = whole_ns / WINDOWS + 1;
    let mut windows: BTreeMap<u64, (Point, Point)> = BTreeMap::new();
    for point in points {
        let window = windows.entry(point.time_ns / width_ns);
        let (all, any) = window.or_insert((*point, *point));
        all.low_ms = all.low_ms.max(point.low_ms);
        all.high_ms = all.high_ms.min(point.high_ms);
        any.low_ms = any.low_ms.min(point.low_ms);
        any.high_ms = any.high_ms.max(point.high_ms);
    }
    let agreed = |(all, any): (Point, Point)| if all.low_ms <= all.high_ms { all } else { any };
    windows.into_values().map(agreed).collect()
}

/// Lines of nodes, broken where one gave no time. They are shifted, all by the same, so that the
/// first of them lies in the middle of what answers say.
fn told<'a>(samples: &'a [Sample], points: &[Point]) -> BTreeMap<&'a str, Vec<Option<(u64, f64)>>> {
    let gave = |sample: &Sample| sample.answered && 0 < sample.cluster_time_ms;
    let Some(first) = samples.iter().find(|sample| gave(sample)) else { return BTreeMap::new() };
    let middle = |sample: &Sample| (sample.asked_ns as f64 + sample.time as f64) / 2e6;
    let offset = |sample: &Sample| {
        let passed_ms = sample.cluster_time_ms as f64 - first.cluster_time_ms as f64;
        passed_ms - (middle(sample) - middle(first))
    };
    let known = points.iter().find(|point| first.time <= point.time_ns).or(points.last());
    let base = known.map_or(0.0, |point| f64::midpoint(point.low_ms, point.high_ms));
    let mut lines: BTreeMap<&str, Vec<Option<(u64, f64)>>> = BTreeMap::new();
    for sample in samples {
        let point = gave(sample).then(|| (sample.time, base + offset(sample)));
        lines.entry(&sample.node).or_default().push(point);
    }
    lines
}

fn range(points: &[Point], told: &BTreeMap<&str, Vec<Option<(u64, f64)>>>) -> (f64, f64) {
    let mut bounds: Vec<f64> =
        points.iter().flat_map(|point| [point.low_ms, point.high_ms]).collect();
    let mut values: Vec<f64> =
        told.values().flatten().flatten().map(|(_, offset_ms)| *offset_ms).collect();
    let (mut low, mut high) = (-1.0f64, 1.0f64);
    for values in [&mut bounds, &mut values] {
        values.sort_unstable_by(f64::total_cmp);
        let left_out = values.len() * (100 - PERCENT_WITHIN) / 200;
        for value in values.iter().skip(left_out).take(values.len() - 2 * left_out) {
            (low, high) = (low.min(*value), high.max(*value));
        }
    }
    (low, high)
}

/// When a term was heard of for the first time, the first one left out.
pub(super) fn new_terms(samples: &[Sample]) -> Vec<u64> {
    let (mut latest, mut times) = (0, Vec::new());
    for sample in samples.iter().filter(|sample| sample.answered && 0 < sample.term) {
        if latest < sample.term {
            if 0 < latest {
                times.push(sample.time);
            }
            latest = sample.term;
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, history::op::F, report::wellformed};

    #[test]
    fn what_nodes_say_lies_beside_what_answers_say() {
        let mut example = Example::started();
        example.sample(150, 1, "n1");
        example.write(F::Switch, "s", 300);
        example.ahead_ms = 40;
        example.sample(400, 2, "n2");
        let run = example.run();
        let points = thinned(&clock::series(&run), 1_000_000_000);
        let told = told(&run.samples, &points);
        let n1: Vec<f64> = told["n1"].iter().flatten().map(|(_, offset)| offset.round()).collect();
        assert_eq!(n1, [0.0, 40.0]);
        assert_eq!(new_terms(&run.samples), [402_000_000]);
        let drawn = chart(&run, &[], &Bands::of(&run));
        wellformed::check(&drawn).unwrap();
        assert!(drawn.contains("<title>n3</title>") && drawn.contains("class=\"shift\""));
    }

    #[test]
    fn points_of_a_window_are_one() {
        let point = |time_ns, low_ms, high_ms| Point { time_ns, low_ms, high_ms };
        let points = [
            point(1, -1.0, 1.0),
            point(2, -2.0, 0.5),
            point(5_000_000, 0.0, 3.0),
            point(5_000_001, 4.0, 5.0),
        ];
        let thinned = thinned(&points, 1_000_000_000);
        assert_eq!(thinned, [point(1, -1.0, 0.5), point(5_000_000, 0.0, 5.0)]);
        assert_eq!(range(&thinned, &BTreeMap::new()), (-1.0, 5.0));
        let mut many = vec![point(1, -2.0, 2.0); 99];
        many.push(point(1, -70_000.0, 9.0));
        assert_eq!(range(&many, &BTreeMap::new()), (-2.0, 2.0));
    }
}
