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
