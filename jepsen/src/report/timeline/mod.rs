//! Who did what, and what else was going on: `timeline.html`.

mod choose;
mod draw;
mod lay;

use std::{collections::BTreeSet, fmt::Write, path::Path};

use super::{
    anomalies::{self, Found},
    bands::Bands,
    escape::{address, escape},
    headline, numbers, page, rate,
    spans::Span,
};
use crate::{check::verdict::Verdict, test::run::Run};

/// More anomalies are in `results.json`.
const LISTED: usize = 100;
/// Operations that are linked of each.
const LINKED: usize = 8;

pub(super) fn page(run: &Run, verdicts: &[Verdict], spans: &[Span<'_>]) -> String {
    let bands = Bands::of(run);
    let found = anomalies::of(verdicts, spans);
    let sections = choose::choose(spans, &found, &bands);
    let wrong: BTreeSet<usize> = found.iter().flat_map(|found| found.ops.iter().copied()).collect();
    let wrong_versions: BTreeSet<(&str, u64)> = found
        .iter()
        .filter_map(|found| Some((found.anomaly.session.as_deref()?, found.anomaly.version?)))
        .collect();
    let shared =
        draw::Page { run, spans, bands: &bands, wrong: &wrong, wrong_versions: &wrong_versions };
    let mut named = BTreeSet::new();
    let (mut contents, mut drawn) = (String::new(), String::new());
    for (number, section) in sections.iter().enumerate() {
        let (title, why) = (escape(&section.title), escape(&section.why));
        // Writing to a string does not fail, here and below.
        let class = if section.wrong { " class=\"invalid\"" } else { "" };
        let _ = writeln!(
            contents,
            "<li><a{class} href=\"#section-{number}\">{title}</a> <span class=\"dim\">{why}</span></li>"
        );
        let open = if section.wrong || number == 0 { " open=\"open\"" } else { "" };
        let _ = writeln!(
            drawn,
            "<details id=\"section-{number}\"{open}><summary><b>{title}</b> \
             <span class=\"dim\">{why}</span></summary>\n{}</details>",
            draw::section(&shared, section, &mut named)
        );
    }
    let verdict = headline::first(run, verdicts, Path::new(""));
    let class = headline::word(headline::overall(verdicts)).to_lowercase();
    let mut body = format!(
        "<p><a href=\"index.html\">{}</a></p>\n<h1>Timeline</h1>\n<p class=\"verdict {class}\">{}</p>\n",
        escape(&run.plan.name),
        escape(verdict.trim_end())
    );
    body.push_str(&listed(&found, spans, &named));
    body.push_str(&overview(run, spans, &bands, &found));
    body.push_str(&explained(spans.len(), named.len()));
    let _ = write!(body, "<ul>{contents}</ul>\n{drawn}");
    page::html(&format!("Timeline of {}", run.plan.name), draw::STYLE, &body)
}

/// What is wrong, with links to what it is about.
fn listed(found: &[Found<'_>], spans: &[Span<'_>], named: &BTreeSet<usize>) -> String {
    if found.is_empty() {
        return String::from("<p>No checker found an anomaly.</p>\n");
    }
    let mut html = format!("<h2>{}</h2>\n<ol>", numbers::counted(found.len(), "anomaly"));
    for found in found.iter().take(LISTED) {
        let _ = write!(html, "<li><b>{}</b> {}", escape(found.checker), escape(&found.sentence()));
        for position in found.ops.iter().take(LINKED) {
            let Some(span) = spans.get(*position) else { continue };
            let (index, f) = (span.op.index, span.op.f.as_str());
            if named.contains(position) {
                let _ = write!(html, " <a href=\"#op-{index}\">{f} {index}</a>");
            } else {
                let _ = write!(html, " {f} {index} (see history.txt)");
            }
        }
        html.push_str("</li>\n");
    }
    html.push_str("</ol>\n");
    if LISTED < found.len() {
        let more = numbers::count(found.len() - LISTED);
        let _ =
            writeln!(html, "<p>{more} more are in <a href=\"results.json\">results.json</a>.</p>");
    }
    html
}

/// The whole test at a glance. As an image it keeps its style to itself.
fn overview(run: &Run, spans: &[Span<'_>], bands: &Bands, found: &[Found<'_>]) -> String {
    let of_op = |position: &usize| spans.get(*position).map(|span| span.op.invoked_ns);
    let wrong: Vec<u64> = found
        .iter()
        .flat_map(|found| found.ops.iter().filter_map(of_op).chain(found.anomaly.time_ns))
        .collect();
    let svg = rate::overview(run, spans, bands, &wrong);
    let alt = "operations a second over the whole test";
    format!(
        "<img class=\"chart\" style=\"max-width:1120px\" alt=\"{alt}\" \
         src=\"data:image/svg+xml;charset=utf-8,{}\"/>\n",
        address(&svg)
    )
}

fn explained(all: usize, shown: usize) -> String {
    let what = if shown < all {
        format!(
            "The test had {} operations; this page shows {} of them, in the sections below. All \
             others are left out, and are in <a href=\"history.txt\">history.txt</a>.",
            numbers::count(all),
            numbers::count(shown)
        )
    } else {
        format!("All {} are on this page.", numbers::counted(all, "operation"))
    };
    format!(
        "<p>{what}</p>\n<p class=\"dim\">Time runs downwards, but not to scale: operations share a row \
         if and only if they overlapped, and the seconds stand on the left. Blue took effect, pink \
         certainly did not, orange may have; a dashed edge means that it may take effect later, too. \
         Red frames are what anomalies are about; shaded rows are faults. Point at a box to read the \
         request and the answer.</p>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{example::Example, verdict::Anomaly},
        history::op::F,
        nemesis::Trouble,
        report::{spans, wellformed},
    };

    #[test]
    fn anomalies_are_framed_and_linked() {
        let mut example = Example::started();
        example.write(F::Switch, "s", 300);
        example.open(F::Pause, "s", (310, 5_000));
        example.fault(Trouble::Kill, &["n1"], (305, 900));
        let run = example.run();
        let spans = spans::of(&run);
        let bad = spans[2].op.index;
        let verdicts = [Verdict::of("stream", vec![Anomaly::new("bad").session("s").ops([bad])])];
        let page = page(&run, &verdicts, &spans);
        wellformed::check(&page).unwrap();
        assert!(page.contains(&format!("<a href=\"#op-{bad}\">switch {bad}</a>")));
        assert_eq!(page.matches(&format!("id=\"op-{bad}\"")).count(), 1);
        assert_eq!(page.matches("class=\"o ok bad\"").count(), 1);
        assert!(page.contains("class=\"o info open\"") && page.contains("kill plain n1"));
        assert!(page.contains("All 4 operations are on this page."));
    }

    #[test]
    fn hostile_sessions_stay_text() {
        let hostile = "</a><script>alert(\"1\")</script>";
        let mut example = Example::started();
        example.create(hostile, 250);
        for number in 0..1_300 {
            example.write(F::Switch, "s", 300 + number * 10);
        }
        let run = example.run();
        let spans = spans::of(&run);
        let verdicts =
            [Verdict::of("lists", vec![Anomaly::new(hostile).session(hostile).at(12, 1)])];
        let page = page(&run, &verdicts, &spans);
        wellformed::check(&page).unwrap();
        assert!(!page.contains("<script"));
        assert!(page.contains("class=\"o told bad\""), "its session has a section of its own");
        assert!(page.contains("The test had 1,303 operations; this page shows"));
    }

    #[test]
    fn a_test_without_operations_has_a_page() {
        let page = page(&Example::new().run(), &[], &[]);
        wellformed::check(&page).unwrap();
        assert!(page.contains("All 0 operations are on this page."));
    }
}
