//! A sheet of charts that share one axis of time, with the faults drawn into all of them.

use super::{
    bands::Bands,
    numbers,
    scale::{Axis, Tick, moments},
    svg::{Area, Svg},
};

const WIDTH: f64 = 1_120.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 20.0;
const HEADER: f64 = 88.0;
/// From one panel to the next; its name stands in it.
const GAP: f64 = 24.0;
const LANE: f64 = 13.0;

pub(crate) struct Sheet<'a> {
    svg: Svg,
    title: String,
    span_ns: u64,
    ticks: Vec<Tick>,
    bands: &'a Bands,
    bottom: f64,
}

/// One chart.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    area: Area,
    span_ns: u64,
    scale: super::scale::Scale,
}

/// An entry of the legend: the class of its swatch, and its text.
pub(crate) type Entry<'a> = (&'a str, &'a str);

impl<'a> Sheet<'a> {
    pub(crate) fn new(
        (title, subtitle): (&str, &str),
        legend: &[Entry<'_>],
        span_ns: u64,
        bands: &'a Bands,
    ) -> Self {
        let mut svg = Svg::default();
        svg.text((16.0, 27.0), "h", title);
        svg.text((16.0, 47.0), "sub", subtitle);
        let mut left = LEFT;
        for (class, text) in legend {
            left = entry(&mut svg, (left, 69.0), class, text);
        }
        let ticks = moments(span_ns as f64 / 1e9);
        let bottom = if legend.is_empty() { HEADER - 16.0 } else { HEADER };
        Self { svg, title: title.to_owned(), span_ns, ticks, bands, bottom }
    }

    /// Makes room for a chart below the others. `name` stands above it.
    pub(crate) fn panel(&mut self, height: f64, axis: &Axis, name: &str) -> Panel {
        let named = if name.is_empty() { 0.0 } else { 10.0 };
        let top = self.bottom + named;
        let area = Area { left: LEFT, top, width: WIDTH - LEFT - RIGHT, height };
        self.bottom = area.bottom() + GAP - 10.0;
        let panel = Panel { area, span_ns: self.span_ns, scale: axis.scale };
        let svg = &mut self.svg;
        svg.rect(area, "pane", "");
        for tick in &self.ticks {
            let x = panel.x(seconds_ns(tick.value));
            svg.line((x, area.top), (x, area.bottom()), "grid");
        }
        for tick in &axis.ticks {
            let y = panel.y(tick.value);
            let class = if tick.label.is_some() { "grid" } else { "minor" };
            svg.line((area.left, y), (area.right(), y), class);
            if let Some(label) = &tick.label {
                svg.text((area.left - 8.0, y + 4.0), "e small", label);
            }
        }
        for band in &self.bands.all {
            let (from, to) = (panel.x(band.from_ns), panel.x(band.to_ns));
            let area = Area { left: from, width: (to - from).max(1.5), ..area };
            svg.rect(area, &format!("band f-{}", band.trouble.as_str()), &band.title);
        }
        svg.line((area.left, area.bottom()), (area.right(), area.bottom()), "axis");
        svg.line((area.left, area.top), (area.left, area.bottom()), "axis");
        svg.text((area.left, area.top - 6.0), "name", name);
        panel
    }

    pub(crate) fn path(&mut self, path: &str, class: &str, title: &str) {
        self.svg.path(path, class, title);
    }

    /// A line from top to bottom of a chart.
    pub(crate) fn mark(&mut self, panel: Panel, at_ns: u64, class: &str) {
        let (x, area) = (panel.x(at_ns), panel.area);
        self.svg.line((x, area.top), (x, area.bottom()), class);
    }

    /// A legend of a chart's own, after its name.
    pub(crate) fn legend(&mut self, panel: Panel, name: &str, entries: &[Entry<'_>]) {
        let Area { left, top, .. } = panel.area;
        let mut left = left + 30.0 + wide(name);
        for (class, text) in entries {
            left = entry(&mut self.svg, (left, top - 6.0), class, text);
        }
    }

    /// Where there is nothing to draw the chart says so.
    pub(crate) fn nothing(&mut self, panel: Panel, why: &str) {
        let Area { left, top, width, height } = panel.area;
        self.svg.text((left + width / 2.0, top + height / 2.0 + 4.0), "m sub", why);
    }

    /// The axis of time and the faults by family; then it is done.
    pub(crate) fn finish(mut self) -> String {
        let left_to_right = Area { left: LEFT, top: 0.0, width: WIDTH - LEFT - RIGHT, height: 0.0 };
        let whole = Panel {
            area: left_to_right,
            span_ns: self.span_ns,
            scale: super::scale::Scale::Linear { low: 0.0, high: 1.0 },
        };
        let mut y = self.bottom + 4.0;
        for tick in &self.ticks {
            if let Some(label) = &tick.label {
                self.svg.text((whole.x(seconds_ns(tick.value)), y), "m small", label);
            }
        }
        y += 14.0;
        for family in self.bands.families() {
            let word = family.as_str();
            self.svg.text((LEFT - 8.0, y + 9.0), "e small", &word);
            for band in self.bands.all.iter().filter(|band| band.trouble == family) {
                let (from, to) = (whole.x(band.from_ns), whole.x(band.to_ns));
                let (width, height) = ((to - from).max(2.0), LANE - 3.0);
                let doubt = if band.bit { "" } else { " doubt" };
                let area = Area { left: from, top: y, width, height };
                self.svg.rect(area, &format!("f-{word}{doubt}"), &band.title);
            }
            y += LANE;
        }
        if !self.bands.all.is_empty() {
            y += 12.0;
            let doubtful = self.bands.all.iter().filter(|band| !band.bit).count();
            let mut text = format!("faults by family: {}", numbers::count(self.bands.all.len()));
            if 0 < doubtful {
                text.push_str(&format!("; {doubtful} pale ones were not seen to bite"));
            }
            self.svg.text((LEFT, y), "sub small", &text);
        }
        self.svg.finish((WIDTH, y + 14.0), &self.title)
    }
}

/// An entry of a legend, and where the next one begins.
fn entry(svg: &mut Svg, (left, base): (f64, f64), class: &str, text: &str) -> f64 {
    let is = |kind: &str| class.split(' ').any(|word| word == kind);
    let middle = base - 4.0;
    if is("dot") {
        svg.path(&format!("M{:.1} {middle:.1}h0", left + 7.0), &format!("{class} big"), "");
    } else if is("curve") {
        svg.path(&format!("M{left:.1} {middle:.1}h14"), class, "");
    } else {
        svg.rect(Area { left, top: base - 10.0, width: 14.0, height: 11.0 }, class, "");
    }
    svg.text((left + 19.0, base), "", text);
    left + 38.0 + wide(text)
}

/// About as wide as the text.
fn wide(text: &str) -> f64 {
    6.6 * text.chars().count() as f64
}

impl Panel {
    pub(crate) fn x(&self, ns: u64) -> f64 {
        let along = ns.min(self.span_ns) as f64 / self.span_ns.max(1) as f64;
        self.area.left + self.area.width * along
    }

    pub(crate) fn y(&self, value: f64) -> f64 {
        self.area.bottom() - self.area.height * self.scale.at(value)
    }

    /// A point, as it stands in a path.
    pub(crate) fn point(&self, ns: u64, value: f64) -> String {
        format!("{:.1} {:.1}", self.x(ns), self.y(value))
    }

    /// The line through these points; it breaks where there is none.
    pub(crate) fn curve(&self, points: impl IntoIterator<Item = Option<(u64, f64)>>) -> String {
        let (mut path, mut on) = (String::new(), false);
        for point in points {
            if let Some((ns, value)) = point {
                path.push(if on { 'L' } else { 'M' });
                path.push_str(&self.point(ns, value));
                if !on {
                    // A point alone is seen as well.
                    path.push_str("h.1");
                }
            }
            on = point.is_some();
        }
        path
    }

    /// A dot for each.
    pub(crate) fn dots(&self, points: impl IntoIterator<Item = Option<(u64, f64)>>) -> String {
        let dot = |(ns, value)| format!("M{}h0", self.point(ns, value));
        points.into_iter().flatten().map(dot).collect()
    }

    /// The area between two lines over the same moments.
    pub(crate) fn between(&self, points: &[(u64, f64, f64)]) -> String {
        let mut path = String::new();
        for (ns, _, high) in points {
            path.push(if path.is_empty() { 'M' } else { 'L' });
            path.push_str(&self.point(*ns, *high));
        }
        for (ns, low, _) in points.iter().rev() {
            path.push('L');
            path.push_str(&self.point(*ns, *low));
        }
        if !path.is_empty() {
            path.push('Z');
        }
        path
    }
}

fn seconds_ns(seconds: f64) -> u64 {
    // Round moments are whole milliseconds, and a test is no longer than years.
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|time| u64::try_from(time.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::wellformed;

    #[test]
    fn paths_break_and_close() {
        let bands = Bands::default();
        let mut sheet = Sheet::new(("t", "s"), &[("curve s0", "x")], 100, &bands);
        let panel = sheet.panel(100.0, &Axis::linear((0.0, 1.0), 1), "");
        let (zero, one) = (panel.point(0, 0.0), panel.point(100, 1.0));
        assert_eq!(zero, "96.0 188.0");
        assert_eq!(one, "1100.0 88.0");
        let broken = [Some((0, 0.0)), None, Some((100, 1.0)), Some((100, 0.0))];
        assert_eq!(panel.curve(broken), "M96.0 188.0h.1M1100.0 88.0h.1L1100.0 188.0");
        let area = panel.between(&[(0, 0.0, 1.0), (100, 0.0, 1.0)]);
        assert_eq!(area, "M96.0 88.0L1100.0 88.0L1100.0 188.0L96.0 188.0Z");
        assert_eq!(panel.between(&[]), "");
        wellformed::check(&sheet.finish()).unwrap();
    }
}
