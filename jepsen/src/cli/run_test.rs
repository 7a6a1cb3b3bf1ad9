//! `test`: runs tests and judges them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{CliError, Ended, analyze, options::Options, print};
use crate::{
    check::verdict::Validity,
    test::{
        plan::{DiskKind, EnvKind, Plan},
        runner::{self, HarnessError},
    },
};

#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    options: Options,
    /// Run the plan in this file (`test.json` of a stored test) and nothing else
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// How often, each time with the next seed; ends early where a test is not valid
    #[arg(long, value_name = "N", default_value_t = 1)]
    test_count: u64,
    /// Where histories are kept
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
}

impl Test {
    /// Does it need a network or mounts of its own?
    pub(super) fn needs(&self) -> (bool, bool) {
        // A plan that cannot be read is told of when the test is to begin.
        let plan = self.plan.as_ref().and_then(|file| fs::read(file).ok());
        let plan = plan.and_then(|text| serde_json::from_slice::<Plan>(&text).ok());
        let asked = (self.options.env, self.options.disk);
        let (env, disk) = plan.map_or(asked, |plan| (plan.env, plan.disk));
        let network = env == EnvKind::Netns;
        (network, network || disk != DiskKind::Plain)
    }

    pub(super) fn run(self) -> Result<Ended, CliError> {
        if let Some(file) = &self.plan {
            let plan: Plan = serde_json::from_slice(&fs::read(file)?)?;
            return Ok(Ended::Judged(one(&plan, &self.store)?));
        }
        let first = self.options.first_seed();
        for seed in (first..).take(usize::try_from(self.test_count).unwrap_or(usize::MAX)) {
            let verdict = one(&self.options.plan(seed)?, &self.store)?;
            if verdict != Validity::Valid {
                return Ok(Ended::Judged(verdict));
            }
        }
        Ok(Ended::Judged(Validity::Valid))
    }
}

/// Runs one test and judges it; what is left of it lies at [`latest`].
pub(super) fn one(plan: &Plan, store: &Path) -> Result<Validity, CliError> {
    let began = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let named = store.join(&plan.name);
    let directory = named.join(format!("{began}-{}", plan.seed));
    fs::create_dir_all(&directory)?;
    let directory = directory.canonicalize()?;
    link(store, &directory)?;
    print::note(&format!("{} with seed {}: {}", plan.name, plan.seed, directory.display()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let outcome = runtime.block_on(async {
        let interrupted = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                print::note("interrupted: healing, and judging what there is");
                interrupted.cancel();
            }
        });
        runner::run(plan, &directory, stop.clone()).await
    });
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            let entry = analyze::judge(&directory)?;
            entry.append(&store.join("ledger.jsonl"))?;
            if stop.is_cancelled() {
                return Err(CliError::Interrupted);
            }
            Ok(entry.valid)
        }
        Err(HarnessError::Io(error)) => {
            print::line(&format!("UNKNOWN harness: {error}; seed {}", plan.seed))?;
            Ok(Validity::Unknown)
        }
        Err(error @ HarnessError::NeverReady(_)) => {
            print::line(&format!("UNKNOWN harness: {error}; seed {}", plan.seed))?;
            Ok(Validity::Unknown)
        }
    }
}

/// Where the last test in a store lies.
pub(super) fn latest(store: &Path) -> PathBuf {
    store.join("latest")
}

fn link(store: &Path, directory: &Path) -> Result<(), CliError> {
    let latest = latest(store);
    let _ = fs::remove_file(&latest);
    std::os::unix::fs::symlink(directory, latest)?;
    Ok(())
}
