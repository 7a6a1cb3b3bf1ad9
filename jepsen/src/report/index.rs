//! The page that a person opens first: `index.html`.

use std::{fmt::Write, path::Path};

use super::{
    CHARTS,
    bands::outcome,
    escape::{address, escape},
    headline::{self, about, counts, overall, word},
    numbers, page,
};
use crate::{check::verdict::Verdict, nemesis::FaultRecord, test::run::Run};

/// A checker that found more of the same says the rest in `results.json`.
const ANOMALIES: usize = 12;
/// Longer evidence is in `faults.jsonl`.
const EVIDENCE: usize = 220;

/// `files` are relative paths to what was recorded.
pub(super) fn page(run: &Run, verdicts: &[Verdict], files: &[String]) -> String {
    let plan = &run.plan;
    let valid = class(verdicts);
    let line = headline::first(run, verdicts, Path::new(""));
    let mut body = format!("<h1>{}</h1>\n", escape(&plan.name));
    // Writing to a string does not fail.
    let _ = writeln!(body, "<p class=\"verdict {valid}\">{}</p>", escape(line.trim_end()));
    body.push_str(&made_of(run));
    body.push_str("<h2>Verdicts</h2>\n");
    body.push_str(&checkers(verdicts));
    body.push_str("<h2>Look closer</h2>\n<ul>");
    for (file, what) in [
        ("timeline.html", "operations by process, around what is wrong"),
        ("history.txt", "every event, a line each"),
        ("results.json", "verdicts with all figures; also as results.edn"),
        ("repro.sh", "runs the test again"),
    ] {
        let _ = writeln!(body, "<li><a href=\"{file}\">{file}</a>: {what}</li>");
    }
    body.push_str("</ul>\n");
    for (file, _) in CHARTS {
        let _ = writeln!(
            body,
            "<a href=\"{file}\"><img class=\"chart\" src=\"{file}\" alt=\"{file}\"/></a>"
        );
    }
    let _ = writeln!(body, "<h2>Faults</h2>\n{}", faults(&run.faults));
    let _ = writeln!(body, "<h2>How processes ended</h2>\n{}", exits(run));
    body.push_str("<h2>What was recorded</h2>\n<ul class=\"mono\">");
    let known = ["test.json", "history.jsonl", "faults.jsonl", "samples.jsonl", "ending.json"];
    for file in known.into_iter().chain(files.iter().map(String::as_str)) {
        let _ = writeln!(body, "<li><a href=\"{}\">{}</a></li>", address(file), escape(file));
    }
    body.push_str("</ul>\n");
    page::html(&format!("{}, seed {}", plan.name, plan.seed), "", &body)
}

fn class(verdicts: &[Verdict]) -> String {
    word(overall(verdicts)).to_lowercase()
}

fn made_of(run: &Run) -> String {
    let plan = &run.plan;
    let name = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let nemesis: Vec<String> = plan.nemesis.iter().map(|trouble| trouble.as_str()).collect();
    let nemesis = if nemesis.is_empty() { String::from("none") } else { nemesis.join(", ") };
    let mut text = format!(
        "workload {}; nemesis {nemesis}; seed {}; {}, {} processes at once, {} operations a second, for {} s; \
         environment {}, disks {}; program {}",
        plan.workload.as_str(),
        plan.seed,
        numbers::counted(plan.nodes, "node"),
        plan.concurrency,
        numbers::plain(plan.rate),
        plan.time_limit_s,
        name(serde_json::to_value(plan.env)),
        name(serde_json::to_value(plan.disk)),
        plan.bin.display()
    );
    if let Some(plant) = &plan.plant {
        text.push_str(&format!("; planted bug {plant}"));
    }
    format!("<p class=\"dim\">{}</p>\n", escape(&text))
}

fn checkers(verdicts: &[Verdict]) -> String {
    let mut table = String::from(
        "<table><thead><tr><th>checker</th><th>verdict</th><th>what it saw</th></tr></thead><tbody>\n",
    );
    for verdict in verdicts {
        let word = word(verdict.valid);
        let _ = write!(
            table,
            "<tr><td>{}</td><td class=\"{}\">{word}</td><td>{}",
            escape(&verdict.checker),
            word.to_lowercase(),
            escape(&counts(verdict))
        );
        if !verdict.anomalies.is_empty() {
            table.push_str("<ul>");
            for anomaly in verdict.anomalies.iter().take(ANOMALIES) {
                let sentence = escape(&about(anomaly));
                let at = anomaly.ops.first();
                let at =
                    at.map(|op| format!(" <a href=\"timeline.html#op-{op}\">operation {op}</a>"));
                let _ = write!(table, "<li>{sentence}{}</li>", at.unwrap_or_default());
            }
            table.push_str("</ul>");
            if ANOMALIES < verdict.anomalies.len() {
                let more = numbers::count(verdict.anomalies.len() - ANOMALIES);
                let _ =
                    write!(table, "and {more} more in <a href=\"results.json\">results.json</a>");
            }
        }
        table.push_str("</td></tr>\n");
    }
    table + "</tbody></table>\n"
}

fn faults(faults: &[FaultRecord]) -> String {
    if faults.is_empty() {
        return String::from("<p class=\"dim\">There was none.</p>");
    }
    let mut table = String::from(
        "<table><thead><tr><th>from</th><th>to</th><th>fault</th><th>nodes</th><th>outcome</th>\
         <th>evidence</th></tr></thead><tbody>\n",
    );
    for fault in faults {
        let bit = fault.outcome == crate::nemesis::FaultOutcome::Bit;
        let leader = if fault.hit_leader { " (leader)" } else { "" };
        let _ = writeln!(
            table,
            "<tr><td>{} s</td><td>{} s</td><td>{} {}</td><td>{}{leader}</td>\
             <td class=\"{}\">{}</td><td class=\"mono dim\">{}</td></tr>",
            numbers::seconds(fault.began_ns),
            numbers::seconds(fault.ended_ns),
            fault.planned.trouble.as_str(),
            escape(&fault.planned.form),
            escape(&fault.nodes.join(" ")),
            if bit { "" } else { "unknown" },
            escape(&outcome(&fault.outcome)),
            escape(&numbers::short(&fault.evidence.to_string(), EVIDENCE))
        );
    }
    table + "</tbody></table>\n"
}

fn exits(run: &Run) -> String {
    if run.ending.exits.is_empty() {
        return String::from("<p class=\"dim\">None is known to have ended.</p>");
    }
    let mut table = String::from(
        "<table><thead><tr><th>at</th><th>node</th><th>how</th><th>because of</th></tr></thead><tbody>\n",
    );
    for exit in &run.ending.exits {
        let how = match (exit.code, exit.signal) {
            (Some(code), _) => format!("code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => String::from("nobody knows"),
        };
        let because = if exit.because.is_empty() { "nobody asked for it" } else { &exit.because };
        let _ = writeln!(
            table,
            "<tr><td>{} s</td><td>{}</td><td>{how}</td><td>{}</td></tr>",
            numbers::seconds(exit.time),
            escape(&exit.node),
            escape(because)
        );
    }
    table + "</tbody></table>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{example::Example, verdict::Anomaly},
        nemesis::Trouble,
        report::wellformed,
    };

    #[test]
    fn it_links_everything_and_escapes_all_of_it() {
        let hostile = "<script>alert('1')</script>&\"";
        let mut example = Example::started();
        let fault = example.fault(Trouble::Kill, &["n1"], (300, 400));
        (fault.planned.form, fault.evidence) = (hostile.to_owned(), serde_json::json!(hostile));
        example.exit(hostile, 320, hostile);
        let mut run = example.run();
        run.plan.name = hostile.to_owned();
        let bad = vec![Anomaly::new(hostile).session(hostile).ops([4]); 20];
        let verdicts = [Verdict::of(hostile, bad)];
        let page = page(&run, &verdicts, &[format!("ws/{hostile}.jsonl")]);
        wellformed::check(&page).unwrap();
        assert!(!page.contains("<script"));
        assert!(page.contains("timeline.html#op-4") && page.contains("and 8 more"));
        for (chart, _) in CHARTS {
            assert!(page.contains(&format!("src=\"{chart}\"")));
        }
    }

    #[test]
    fn a_test_without_anything_has_a_page() {
        let page = page(&Example::new().run(), &[], &[]);
        wellformed::check(&page).unwrap();
        assert!(page.contains("There was none."));
    }
}
