//! Operations a second, by what was asked for and what came of it: `rate.svg`.

use std::collections::BTreeSet;

use super::{
    bands::Bands,
    bins::Bins,
    chart::{Panel, Sheet},
    numbers,
    scale::Axis,
    spans::{self, CLASSES, Span},
};
use crate::{history::op::F, test::run::Run};

/// More are no clearer.
const WINDOWS: u64 = 160;

/// Operations of a window by outcome, as in [`CLASSES`].
type Counts = Vec<[u64; 3]>;

pub(super) fn chart(run: &Run, spans: &[Span<'_>], bands: &Bands) -> String {
    let whole_ns = spans::whole_ns(run);
    let bins = Bins::of(whole_ns, WINDOWS);
    let subtitle = format!(
        "operations a second by the time of their request, in windows of {}, one on top of the other",
        bins.width()
    );
    let legend = [("area ok", "ok"), ("area fail", "fail"), ("area info", "info")];
    let mut sheet = Sheet::new(("Rate", &subtitle), &legend, whole_ns, bands);
    let all = counts(spans.iter(), bins);
    let panel = sheet.panel(170.0, &axis(&all, bins, 5), "all");
    draw(&mut sheet, panel, &all, bins);
    if spans.is_empty() {
        sheet.nothing(panel, "there was no operation");
    }
    let kinds: BTreeSet<F> = spans.iter().map(|span| span.op.f).collect();
    for f in kinds {
        let of_f = spans.iter().filter(|span| span.op.f == f);
        let number = of_f.clone().count();
        let counts = counts(of_f, bins);
        let name = format!("{}: {}", f.as_str(), numbers::count(number));
        let panel = sheet.panel(46.0, &axis(&counts, bins, 2), &name);
        draw(&mut sheet, panel, &counts, bins);
    }
    sheet.finish()
}

/// One chart of all operations, with the moments of what is wrong.
pub(super) fn overview(run: &Run, spans: &[Span<'_>], bands: &Bands, wrong_ns: &[u64]) -> String {
    let whole_ns = spans::whole_ns(run);
    let bins = Bins::of(whole_ns, WINDOWS);
    let legend = [
        ("area ok", "ok"),
        ("area fail", "fail"),
        ("area info", "info"),
        ("curve wrong", "something that must not be"),
    ];
    let title = ("The whole test", "operations a second");
    let mut sheet = Sheet::new(title, &legend, whole_ns, bands);
    let all = counts(spans.iter(), bins);
    let panel = sheet.panel(110.0, &axis(&all, bins, 3), "");
    draw(&mut sheet, panel, &all, bins);
    let moments: BTreeSet<u64> = wrong_ns.iter().map(|ns| ns / 1_000_000).collect();
    for ms in moments.into_iter().take(500) {
        sheet.mark(panel, ms * 1_000_000, "wrong");
    }
    sheet.finish()
}

fn counts<'a>(spans: impl Iterator<Item = &'a Span<'a>>, bins: Bins) -> Counts {
    let mut counts = vec![[0; 3]; bins.count];
    for span in spans {
        let class = CLASSES.iter().position(|class| *class == span.class()).unwrap_or(0);
        counts[bins.index(span.op.invoked_ns)][class] += 1;
    }
    counts
}

fn axis(counts: &Counts, bins: Bins, about: u32) -> Axis {
    let most = counts.iter().map(|window| window.iter().sum()).max().unwrap_or(0);
    Axis::linear((0.0, per_second(most, bins)), about)
}

fn per_second(count: u64, bins: Bins) -> f64 {
    count as f64 * 1e3 / bins.width_ms().max(1) as f64
}

fn draw(sheet: &mut Sheet<'_>, panel: Panel, counts: &Counts, bins: Bins) {
    let mut below = vec![0; counts.len()];
    for (position, class) in CLASSES.into_iter().enumerate() {
        let (mut points, mut any) = (Vec::new(), false);
        for (index, window) in counts.iter().enumerate() {
            let (low, high) = (below[index], below[index] + window[position]);
            below[index] = high;
            any |= low < high;
            let (low, high) = (per_second(low, bins), per_second(high, bins));
            let from = bins.begins_ns(index);
            points.extend([(from, low, high), (from + bins.width_ns, low, high)]);
        }
        if any {
            sheet.path(&panel.between(&points), &format!("area {class}"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, report::wellformed};

    #[test]
    fn outcomes_are_counted_by_window() {
        let mut example = Example::started();
        example.open(F::Pause, "s", (300, 700));
        let run = example.run();
        let spans = spans::of(&run);
        let bins = Bins::of(1_000_000_000, WINDOWS);
        assert_eq!(counts(spans.iter(), bins)[..2], [[2, 0, 0], [0, 0, 1]]);
        assert!((per_second(3, bins) - 12.0).abs() < 1e-9);
        let bands = Bands::of(&run);
        let drawn = chart(&run, &spans, &bands);
        wellformed::check(&drawn).unwrap();
        for name in ["all", "create: 1", "start: 1", "pause: 1"] {
            assert!(drawn.contains(&format!(">{name}</text>")), "{name}");
        }
        let strip = overview(&run, &spans, &bands, &[5_000_000, 5_100_000, 9_000_000]);
        wellformed::check(&strip).unwrap();
        assert_eq!(strip.matches("class=\"wrong\"").count(), 2);
    }
}
