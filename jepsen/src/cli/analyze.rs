//! `analyze`: judges stored histories.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{CliError, Ended, print};
use crate::{
    check::{
        self,
        verdict::{Validity, Verdict},
    },
    ledger::Entry,
    test::run::Run,
};

#[derive(Args)]
pub(super) struct Analyze {
    /// Directories of stored tests
    #[arg(value_name = "STORE_DIR", required = true)]
    stores: Vec<PathBuf>,
}

impl Analyze {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let mut worst = Validity::Valid;
        for store in &self.stores {
            worst = worst.max(judge(store)?.valid);
        }
        Ok(Ended::Judged(worst))
    }
}

/// Judges one stored test; `results.json` is written anew. Returns its line of the ledger.
pub(super) fn judge(store: &Path) -> Result<Entry, CliError> {
    let run = Run::load(store)?;
    let verdicts = check::all(&run);
    let valid = verdicts.iter().map(|verdict| verdict.valid).max().unwrap_or(Validity::Unknown);
    let results = json!({"valid?": valid, "checkers": verdicts});
    fs::write(store.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    print::line(&headline(&run, &verdicts, valid, store))?;
    for verdict in &verdicts {
        let validity = serde_json::to_value(verdict.valid)?;
        let validity = validity.as_str().unwrap_or_default();
        print::line(&format!("  {:<13} {validity}", verdict.checker))?;
    }
    let not_valid = verdicts.iter().filter(|verdict| verdict.valid != Validity::Valid);
    Ok(Entry::of(&run, valid, not_valid.map(|verdict| verdict.checker.clone()).collect()))
}

/// The first line: the verdict, the first thing that is wrong, the seed, and where it lies.
fn headline(run: &Run, verdicts: &[Verdict], valid: Validity, store: &Path) -> String {
    let place = format!("seed {} {}", run.plan.seed, store.display());
    let decisive = verdicts.iter().find(|verdict| verdict.valid == valid);
    match (valid, decisive) {
        (Validity::Invalid, Some(verdict)) => {
            let first = verdict.anomalies.first().cloned().unwrap_or_default();
            let parts = [
                first.session.map(|session| format!("session {session}")),
                first.node.map(|node| format!("node {node}")),
                first.revision.map(|revision| format!("revision {revision}")),
            ];
            let about: Vec<String> = parts.into_iter().flatten().collect();
            format!("INVALID {}: {} ({}) {place}", verdict.checker, first.what, about.join(", "))
        }
        (Validity::Unknown, Some(verdict)) => {
            let why = verdict.why.as_deref().unwrap_or("it could not tell");
            format!("UNKNOWN {}: {why} {place}", verdict.checker)
        }
        (_, _) => {
            let bit = run
                .faults
                .iter()
                .filter(|fault| fault.outcome == crate::nemesis::FaultOutcome::Bit);
            format!(
                "VALID {}: {} ops, {} faults bit, {place}",
                run.plan.name,
                run.ops.len(),
                bit.count()
            )
        }
    }
}
