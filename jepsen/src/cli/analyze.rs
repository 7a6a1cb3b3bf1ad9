//! `analyze`: judges stored histories.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Ended, print};
use crate::{
    check::{self, verdict::Validity},
    ledger::Entry,
    report::{self, headline},
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

/// Judges one stored test; its results and everything that shows them are written anew. Returns
/// its line of the ledger.
pub(super) fn judge(store: &Path) -> Result<Entry, CliError> {
    let run = Run::load(store)?;
    let verdicts = check::all(&run);
    let written = report::write(&run, &verdicts, store);
    for line in headline::lines(&run, &verdicts, &near(store)) {
        print::line(&line)?;
    }
    // The verdict is told even where there is no room to write it down.
    written?;
    let not_valid = verdicts.iter().filter(|verdict| verdict.valid != Validity::Valid);
    let not_valid = not_valid.map(|verdict| verdict.checker.clone()).collect();
    Ok(Entry::of(&run, headline::overall(&verdicts), not_valid))
}

/// Relative to where we are, where it is below that.
fn near(store: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| store.strip_prefix(here).map(Path::to_owned).ok());
    below.unwrap_or_else(|| store.to_owned())
}
