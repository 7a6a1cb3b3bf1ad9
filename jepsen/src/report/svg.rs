//! Writes SVG. What it looks like is decided by classes, for light and for dark.

use std::fmt::Write;

use super::{bands, escape::escape};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Area {
    pub(crate) const fn right(self) -> f64 {
        self.left + self.width
    }

    pub(crate) const fn bottom(self) -> f64 {
        self.top + self.height
    }
}

/// A drawing under way. Writing to a string does not fail, so nothing here does.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

const STYLE: &str = "\
text{font-family:system-ui,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#4a525a}\
.h{font-size:17px;font-weight:600;fill:#14181c}.sub{fill:#68717a}.name{font-weight:600}\
.e{text-anchor:end}.m{text-anchor:middle}.small{font-size:11px}\
.bg{fill:#fff}.pane{fill:#f8f9fa}.grid{stroke:#dfe3e7}.minor{stroke:#eef0f2}.axis{stroke:#98a1aa}\
.dot{fill:none;stroke-linecap:round;stroke-width:2.6;stroke-opacity:.6}\
.big{stroke-width:7}.dot.s7{stroke-width:3.4;stroke-opacity:.9}\
.curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.thin{stroke-width:1}\
.dot.ok,.curve.ok{stroke:#3d8fe0}.dot.fail,.curve.fail{stroke:#d6569f}.dot.info,.curve.info{stroke:#f08c00}\
.area{stroke:none}.area.ok{fill:#6db6fe}.area.fail{fill:#e07bb8}.area.info{fill:#ffaa26}\
.range{fill:#3d8fe0;fill-opacity:.35;stroke:#3d8fe0;stroke-width:.7}\
.band{fill-opacity:.13}.doubt{fill-opacity:.4}.shift{stroke:#68717a;stroke-dasharray:2 3;stroke-opacity:.5}\
.wrong{stroke:#d60f2c;stroke-width:1.5}\
.s0{stroke:#3d8fe0}.s1{stroke:#e0713d}.s2{stroke:#2fa37a}.s3{stroke:#b455c8}.s4{stroke:#c9a227}\
.s5{stroke:#d64562}.s6{stroke:#5b6ee1}.s7{stroke:#7a8a99}\
@media (prefers-color-scheme:dark){text{fill:#b4bcc4}.h{fill:#eef1f4}.sub{fill:#8d969f}\
.bg{fill:#15181b}.pane{fill:#1b1f23}.grid{stroke:#2f353b}.minor{stroke:#23282d}.axis{stroke:#69727b}\
.band{fill-opacity:.22}}";

impl Svg {
    pub(crate) fn rect(&mut self, area: Area, class: &str, title: &str) {
        let Area { left, top, width, height } = area;
        let _ = write!(
            self.body,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             class=\"{}\"",
            escape(class)
        );
        self.close("rect", title);
    }

    pub(crate) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{}\"/>",
            escape(class)
        );
    }

    /// Draws nothing where there is no path.
    pub(crate) fn path(&mut self, path: &str, class: &str, title: &str) {
        if !path.is_empty() {
            let _ = write!(self.body, "<path d=\"{}\" class=\"{}\"", escape(path), escape(class));
            self.close("path", title);
        }
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{}\">{}</text>",
            escape(class),
            escape(text)
        );
    }

    fn close(&mut self, element: &str, title: &str) {
        let _ = if title.is_empty() {
            writeln!(self.body, "/>")
        } else {
            writeln!(self.body, "><title>{}</title></{element}>", escape(title))
        };
    }

    /// The whole file.
    pub(crate) fn finish(self, (width, height): (f64, f64), title: &str) -> String {
        let (body, title) = (self.body, escape(title));
        let families = bands::style();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
             <title>{title}</title>\n<style>{STYLE}{families}</style>\n\
             <rect width=\"100%\" height=\"100%\" class=\"bg\"/>\n{body}</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::wellformed;

    #[test]
    fn everything_is_escaped_and_well_formed() {
        let hostile = "</title><script>&\"'\u{0}";
        let mut svg = Svg::default();
        let area = Area { left: 0.0, top: 1.0, width: 2.0, height: 3.0 };
        svg.rect(area, hostile, hostile);
        svg.rect(area, "pane", "");
        svg.path("M0 0h1", hostile, hostile);
        svg.path("", "no path", "");
        svg.line((0.0, 0.0), (1.0, 1.0), hostile);
        svg.text((0.0, 0.0), hostile, hostile);
        let text = svg.finish((10.0, 10.0), hostile);
        wellformed::check(&text).unwrap();
        assert!(!text.contains("<script") && !text.contains("no path"), "{text}");
    }
}
