//! How long operations took: `latency-raw.svg` and `latency-quantiles.svg`.

use std::collections::BTreeSet;

use super::{
    bands::Bands,
    bins::Bins,
    chart::Sheet,
    numbers,
    scale::Axis,
    spans::{self, CLASSES, Span},
};
use crate::test::run::Run;

/// So that there are enough operations in each for a quantile.
const WINDOWS: u64 = 70;

/// A point per operation.
pub(super) fn raw(run: &Run, spans: &[Span<'_>], bands: &Bands) -> String {
    let range = range(spans.iter().filter_map(Span::lasted_ns));
    let unfinished = spans.iter().filter(|span| span.ended_ns.is_none()).count();
    let mut subtitle = format!(
        "a point per operation: {}, from the request to the answer, or until it was given up",
        numbers::counted(spans.len(), "operation")
    );
    if 0 < unfinished {
        subtitle
            .push_str(&format!("; {} never ended and have no point", numbers::count(unfinished)));
    }
    let legend = [
        ("dot ok", "ok: it took effect"),
        ("dot fail", "fail: it took no effect"),
        ("dot info", "info: nobody knows"),
    ];
    let mut sheet = Sheet::new(("Latency", &subtitle), &legend, spans::whole_ns(run), bands);
    let panel = sheet.panel(420.0, &Axis::log_ms(range), "");
    for class in CLASSES {
        let mut seen = BTreeSet::new();
        for span in spans.iter().filter(|span| span.class() == class) {
            let Some(lasted) = span.lasted_ns() else { continue };
            let (x, y) = (panel.x(span.op.invoked_ns), panel.y(ms(lasted)));
            // Points that cannot be told apart are one.
            seen.insert(format!("M{:.1} {:.1}h0", halves(x), halves(y)));
        }
        let path: String = seen.into_iter().collect();
        sheet.path(&path, &format!("dot {class}"), "");
    }
    if spans.is_empty() {
        sheet.nothing(panel, "there was no operation");
    }
    sheet.finish()
}

/// What of a hundred operations took so long or less, window by window.
pub(super) fn quantiles(run: &Run, spans: &[Span<'_>], bands: &Bands) -> String {
    let whole_ns = spans::whole_ns(run);
    let bins = Bins::of(whole_ns, WINDOWS);
    let mut windows: Vec<Vec<u64>> = vec![Vec::new(); bins.count];
    let ok = spans.iter().filter(|span| span.class() == "ok");
    for (at, lasted) in ok.filter_map(|span| Some((span.op.invoked_ns, span.lasted_ns()?))) {
        windows[bins.index(at)].push(lasted);
    }
    windows.iter_mut().for_each(|window| window.sort_unstable());
    let all = windows.iter().flatten().copied();
    let range = range(all);
    let subtitle = format!("operations that took effect, in windows of {}", bins.width());
    let lines: [(&str, &str, usize); 4] = [
        ("dot s7", "max", 100),
        ("curve s1", "p99", 99),
        ("curve s2", "p95", 95),
        ("curve s0", "p50", 50),
    ];
    let legend = lines.map(|(class, name, _)| (class, name));
    let mut sheet = Sheet::new(("Latency by quantile", &subtitle), &legend, whole_ns, bands);
    let panel = sheet.panel(420.0, &Axis::log_ms(range), "");
    for (class, name, percent) in lines {
        let point = |(index, window): (usize, &Vec<u64>)| {
            let at = bins.begins_ns(index) + bins.width_ns / 2;
            quantile(window, percent).map(|lasted| (at, ms(lasted)))
        };
        let points = windows.iter().enumerate().map(point);
        let path = if name == "max" { panel.dots(points) } else { panel.curve(points) };
        sheet.path(&path, class, name);
    }
    if windows.iter().all(Vec::is_empty) {
        sheet.nothing(panel, "no operation took effect");
    }
    sheet.finish()
}

/// The least of the sorted values that so many percent of them do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The least and the greatest, in milliseconds; with nothing around a millisecond.
fn range(lasted: impl IntoIterator<Item = u64>) -> (f64, f64) {
    let bounds = lasted.into_iter().fold(None, |bounds: Option<(u64, u64)>, ns| {
        Some(bounds.map_or((ns, ns), |(low, high)| (low.min(ns), high.max(ns))))
    });
    bounds.map_or((1.0, 10.0), |(low, high)| (ms(low), ms(high)))
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn halves(pixels: f64) -> f64 {
    (pixels * 2.0).round() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, history::op::F, nemesis::Trouble, report::wellformed};

    #[test]
    fn quantiles_are_values_that_there_were() {
        let sorted: Vec<u64> = (1..=200).collect();
        let found = [50, 95, 99, 100].map(|percent| quantile(&sorted, percent));
        assert_eq!(found, [Some(100), Some(190), Some(198), Some(200)]);
        assert_eq!((quantile(&[7], 50), quantile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn there_is_a_point_for_each_outcome() {
        let mut example = Example::started();
        example.fault(Trouble::Kill, &["n1"], (250, 400));
        example.open(F::Pause, "s", (300, 700));
        example.op((F::Pause, Some("s")), serde_json::Value::Null, (310, 390), Err("NO_LEADER"));
        let run = example.run();
        let (spans, bands) = (spans::of(&run), Bands::of(&run));
        let chart = raw(&run, &spans, &bands);
        wellformed::check(&chart).unwrap();
        for class in CLASSES {
            let points = format!("class=\"dot {class}\"/>");
            assert_eq!(chart.matches(&points).count(), 1, "{class}");
        }
        assert!(chart.contains("band f-kill"));
        let chart = quantiles(&run, &spans, &bands);
        wellformed::check(&chart).unwrap();
        assert!(chart.contains("<title>p99</title>"));
    }
}
