//! What the command line says of a test: the verdict first, then every checker.

use std::path::Path;

use serde_json::Value;

use super::numbers;
use crate::{
    check::verdict::{Anomaly, Validity, Verdict},
    nemesis::FaultOutcome,
    test::run::Run,
};

/// A longer sentence is cut.
const MOST: usize = 300;

/// The worst of all; without a checker nothing is known.
pub fn overall(verdicts: &[Verdict]) -> Validity {
    verdicts.iter().map(|verdict| verdict.valid).max().unwrap_or(Validity::Unknown)
}

/// Everything, line by line.
pub fn lines(run: &Run, verdicts: &[Verdict], store: &Path) -> Vec<String> {
    let mut lines = vec![first(run, verdicts, store)];
    lines.extend(verdicts.iter().map(|verdict| {
        let line =
            format!("  {:<13} {:<8} {}", verdict.checker, word(verdict.valid), counts(verdict));
        line.trim_end().to_owned()
    }));
    if overall(verdicts) == Validity::Valid {
        lines.push(String::from("Everything looks good!"));
    }
    lines
}

/// The verdict, the first thing that is wrong, the seed, and where it lies.
pub fn first(run: &Run, verdicts: &[Verdict], store: &Path) -> String {
    let valid = overall(verdicts);
    let place = format!("seed {} {}", run.plan.seed, store.display());
    let decisive = verdicts.iter().find(|verdict| verdict.valid == valid);
    let what = match (valid, decisive) {
        (Validity::Invalid, Some(verdict)) => {
            let found = verdict.anomalies.first().map(about);
            let found = found.unwrap_or_else(|| String::from("it does not say what is wrong"));
            format!("INVALID {}: {found}", verdict.checker)
        }
        (Validity::Valid, Some(_)) => {
            let bit = run.faults.iter().filter(|fault| fault.outcome == FaultOutcome::Bit).count();
            format!(
                "VALID {}: {}, {},",
                run.plan.name,
                numbers::counted(run.ops.len(), "operation"),
                numbers::counted(bit, "fault")
            )
        }
        (Validity::Unknown, Some(verdict)) => {
            let why = verdict.why.as_deref().unwrap_or("it could not tell");
            format!("UNKNOWN {}: {}", verdict.checker, numbers::short(why, MOST))
        }
        (Validity::Invalid | Validity::Valid | Validity::Unknown, None) => {
            String::from("UNKNOWN harness: nothing judged it")
        }
    };
    format!("{what} {place}")
}

/// An anomaly as one sentence: `s-7 missed version 17 (n3, revision 812)`.
pub(crate) fn about(anomaly: &Anomaly) -> String {
    let said = |word: &str| says(&anomaly.what, word);
    let session = anomaly.session.as_deref().filter(|session| !said(session));
    let session = session.map(|session| format!("{session} ")).unwrap_or_default();
    let node = anomaly.node.clone().filter(|node| !said(node));
    let revision = anomaly.revision.map(|revision| format!("revision {revision}"));
    let revision = revision.filter(|revision| !said(revision));
    let version = anomaly.version.map(|version| format!("version {version}"));
    let version = version.filter(|version| !said(version));
    let places: Vec<String> = [node, revision, version].into_iter().flatten().collect();
    let places =
        if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
    format!("{}{places}", numbers::short(&format!("{session}{}", anomaly.what), MOST))
}

/// Does the sentence have this as a word of its own?
fn says(sentence: &str, word: &str) -> bool {
    let apart = |next: Option<char>| !next.is_some_and(char::is_alphanumeric);
    sentence.match_indices(word).any(|(at, _)| {
        apart(sentence[..at].chars().next_back())
            && apart(sentence[at + word.len()..].chars().next())
    })
}

pub(crate) const fn word(valid: Validity) -> &'static str {
    match valid {
        Validity::Valid => "valid",
        Validity::Unknown => "unknown",
        Validity::Invalid => "INVALID",
    }
}

/// What a checker found and looked at: its figures, and of those within others the ones that say
/// how often.
pub(crate) fn counts(verdict: &Verdict) -> String {
    let mut words = Vec::new();
    if !verdict.anomalies.is_empty() {
        words.push(numbers::counted(verdict.anomalies.len(), "anomaly"));
    }
    words.extend(verdict.why.as_ref().map(|why| numbers::short(why, MOST)));
    for (name, fact) in &verdict.facts {
        let name = name.replace('_', " ");
        match fact {
            Value::Number(number) => words.push(format!("{name} {}", figure(number))),
            Value::Bool(truth) => {
                words.push(format!("{name}: {}", if *truth { "yes" } else { "no" }))
            }
            Value::Object(rows) if verdict.checker == "coverage" => {
                words.extend(
                    rows.iter().map(|(family, row)| {
                        format!("{family} {} of {}", row["bit"], row["planned"])
                    }),
                );
            }
            Value::Object(row) if verdict.checker == "stats" && name == "all" => {
                let figures = ["count", "ok", "fail", "info"];
                words.extend(figures.into_iter().filter_map(|figure| {
                    Some(format!("{figure} {}", numbers::grouped(row.get(figure)?.as_u64()?)))
                }));
            }
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    words.join(", ")
}

fn figure(number: &serde_json::Number) -> String {
    match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) => numbers::grouped(whole),
        (None, Some(fraction)) => numbers::plain((fraction * 1e3).round() / 1e3),
        (None, None) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{check::example::Example, history::op::F, nemesis::Trouble};

    #[test]
    fn the_first_line_says_it_all() {
        let ok = || Verdict::of("lists", Vec::new());
        let missed =
            Anomaly::new("subscriber 4 missed version 17").session("s-7").node("n3").at(812, 17);
        let cases = [
            (vec![ok()], "VALID example: 2 operations, 1 fault, seed 1 store/x"),
            (
                vec![
                    ok().unknown("unseen"),
                    Verdict::of("stream", vec![missed, Anomaly::new("b")]),
                ],
                "INVALID stream: s-7 subscriber 4 missed version 17 (n3, revision 812) seed 1 store/x",
            ),
            (
                vec![Verdict::of("logs", vec![Anomaly::new("n1 panicked:\nat a.rs").node("n1")])],
                "INVALID logs: n1 panicked: at a.rs seed 1 store/x",
            ),
            (
                vec![ok(), Verdict::of("coverage", Vec::new()).unknown("kill: none was tried")],
                "UNKNOWN coverage: kill: none was tried seed 1 store/x",
            ),
            (
                vec![Verdict::of("x", vec![Anomaly::new("missed 1").session("s").at(1, 2)])],
                "INVALID x: s missed 1 (revision 1, version 2) seed 1 store/x",
            ),
            (
                vec![Verdict::of(
                    "x",
                    vec![Anomaly::new("s is at revision 1").session("s").at(1, 2)],
                )],
                "INVALID x: s is at revision 1 (version 2) seed 1 store/x",
            ),
            (vec![], "UNKNOWN harness: nothing judged it seed 1 store/x"),
        ];
        let mut example = Example::started();
        example.fault(Trouble::Kill, &["n1"], (300, 400));
        example.fault(Trouble::Kill, &["n2"], (500, 600)).outcome = FaultOutcome::skipped("no");
        let run = example.run();
        for (verdicts, expected) in cases {
            assert_eq!(first(&run, &verdicts, Path::new("store/x")), expected);
        }
    }

    #[test]
    fn everything_looks_good_only_where_all_is_valid() {
        let mut example = Example::started();
        example.write(F::Switch, "s", 300);
        let run = example.run();
        let valid = Verdict::of("stream", Vec::new()).with("updates", 2_345).with("moved", -0.801);
        let good = lines(&run, std::slice::from_ref(&valid), Path::new("x"));
        assert_eq!(
            good[1..],
            ["  stream        valid    moved −0.801, updates 2,345", "Everything looks good!"]
        );
        let unknown = Verdict::of("clock", Vec::new()).unknown("no stamp");
        let bad = Verdict::of("lists", vec![Anomaly::new("x")]);
        for verdict in [unknown, bad] {
            let lines = lines(&run, &[valid.clone(), verdict], Path::new("x"));
            assert_eq!(lines.len(), 3);
            assert!(!lines.concat().contains("good"), "{lines:?}");
        }
    }

    #[test]
    fn nested_figures_are_summed_up() {
        let row = json!({"kill": {"bit": 2, "planned": 3, "forms": {}}});
        let coverage = Verdict::of("coverage", Vec::new()).with("faults", row).with("ok", 20);
        assert_eq!(counts(&coverage), "kill 2 of 3, ok 20");
        let all = json!({"count": 1_500, "ok": 1_400, "fail": 60, "info": 40, "errors": {}});
        let stats = Verdict::of("stats", Vec::new()).with("all", all).with("by_f", json!({}));
        assert_eq!(counts(&stats), "count 1,500, ok 1,400, fail 60, info 40");
    }
}
