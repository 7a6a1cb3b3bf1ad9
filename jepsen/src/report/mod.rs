//! What a test leaves for a person to look at: pages, charts and lists in its store directory.

mod anomalies;
mod bands;
mod bins;
pub mod browse;
mod chart;
mod clock;
mod edn;
mod escape;
pub mod headline;
mod index;
mod latency;
mod listing;
mod numbers;
mod page;
mod rate;
mod repro;
mod scale;
mod spans;
mod svg;
mod timeline;
mod versions;
#[cfg(test)]
mod wellformed;
mod words;

use std::{
    fs::{self, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::{
    check::verdict::Verdict,
    export,
    test::{plan::Plan, run::Run},
};

/// Writes all of it anew; whatever an earlier judgement left is replaced.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(run: &Run, verdicts: &[Verdict], store: &Path) -> io::Result<()> {
    let valid = headline::overall(verdicts);
    let results = serde_json::json!({"valid?": valid, "checkers": verdicts});
    fs::write(store.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    fs::write(store.join("results.edn"), edn::results(verdicts))?;
    let mut history = BufWriter::new(fs::File::create(store.join("history.txt"))?);
    listing::write(&run.events, &mut history)?;
    history.flush()?;
    let mut history = BufWriter::new(fs::File::create(store.join("history.edn"))?);
    export::edn::write(&run.events, &mut history)?;
    history.flush()?;
    let spans = spans::of(run);
    let bands = bands::Bands::of(run);
    for (name, chart) in CHARTS {
        fs::write(store.join(name), chart(run, &spans, &bands))?;
    }
    fs::write(store.join("timeline.html"), timeline::page(run, verdicts, &spans))?;
    fs::write(store.join("index.html"), index::page(run, verdicts, &files(store)?))?;
    reproduction(&run.plan, store)
}

/// A chart's file, and what draws it.
type Chart = (&'static str, fn(&Run, &[spans::Span<'_>], &bands::Bands) -> String);

/// In the order in which the index shows them.
const CHARTS: &[Chart] = &[
    ("latency-raw.svg", latency::raw),
    ("latency-quantiles.svg", latency::quantiles),
    ("rate.svg", rate::chart),
    ("clock.svg", clock::chart),
    ("versions.svg", versions::chart),
];

fn reproduction(plan: &Plan, store: &Path) -> io::Result<()> {
    let path = store.join("repro.sh");
    fs::write(&path, repro::script(plan))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))
}

/// Histories of the cluster's and the subscribers' side, relative to the store directory.
fn files(store: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for (directory, within) in [("nodes", Some("node.log")), ("ws", None)] {
        let path = store.join(directory);
        if !path.is_dir() {
            continue;
        }
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = match within {
                Some(file) => format!("{directory}/{name}/{file}"),
                None => format!("{directory}/{name}"),
            };
            if store.join(&file).is_file() {
                found.push(file);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{self, example::Example},
        history::op::F,
        nemesis::Trouble,
    };

    fn written(run: &Run) -> tempfile::TempDir {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir_all(store.path().join("ws")).unwrap();
        fs::write(store.path().join("ws/<observer>.jsonl"), "").unwrap();
        let verdicts = check::all(run);
        write(run, &verdicts, store.path()).unwrap();
        // A second time, over what is there.
        write(run, &verdicts, store.path()).unwrap();
        store
    }

    #[test]
    fn everything_is_written_and_well_formed_however_little_there_is() {
        let hostile = "<script>alert(\"1\")</script>&'";
        let mut example = Example::started();
        example.create(hostile, 250);
        example.open(F::Switch, hostile, (300, 5_300));
        example.fault(Trouble::Kill, &["n1"], (310, 400)).planned.form = hostile.to_owned();
        example.sample(320, 1, "n1");
        example.end(6_000);
        let mut only_faults = Example::new();
        only_faults.fault(Trouble::Clock, &["n1"], (0, 0));
        for run in [Example::new().run(), only_faults.run(), example.run()] {
            let store = written(&run);
            let text = |name: &str| fs::read_to_string(store.path().join(name)).unwrap();
            let charts = CHARTS.iter().map(|(name, _)| *name);
            for name in charts.chain(["timeline.html", "index.html"]) {
                let text = text(name);
                wellformed::check(&text).map_err(|error| format!("{name}: {error}")).unwrap();
                assert!(!text.contains("<script"), "{name}");
                assert!(!text.contains("NaN") && !text.contains("inf\""), "{name}");
            }
            assert_eq!(text("history.txt").lines().count(), run.events.len() + 1);
            assert!(text("results.edn").starts_with("{:valid? "));
            assert!(text("results.json").contains("\"checkers\""));
            assert!(text("index.html").contains("ws/%3Cobserver%3E.jsonl"));
            let mode = fs::metadata(store.path().join("repro.sh")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
    }
}
