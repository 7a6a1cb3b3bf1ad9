//! `test-all`: the tests of a suite, one after the other.

use std::path::PathBuf;

use clap::Args;

use super::{
    CliError, Ended,
    options::{name, scheduled},
    print, program, run_test,
};
use crate::{
    check::verdict::Validity,
    env::probe,
    suite::cases::{Case, Powers, Suite},
    test::plan::Plan,
};

#[derive(Args)]
pub(super) struct TestAll {
    /// Which tests
    #[arg(long, value_enum, default_value = "standard")]
    suite: Suite,
    /// Leave out so many tests, to go on where a run of the suite ended
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// The seed of the first test; each other one has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program under test [default: this workspace's]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// The version before, for upgrades
    #[arg(long, value_name = "PATH")]
    bin_old: Option<PathBuf>,
    /// Where histories are kept
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
}

impl TestAll {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let bin = program::find(self.bin)?;
        let bins = (bin, self.bin_old);
        let powers = Powers { older: bins.1.is_some(), ..powers() };
        let mut worst = Validity::Valid;
        for (case, seed) in self.suite.cases().iter().zip(self.seed..).skip(self.skip) {
            let named = name(case.workload, case.nemesis);
            if let Some(why) = case.impossible(powers) {
                print::line(&format!("SKIPPED {named}: {why}"))?;
                continue;
            }
            worst = worst.max(run_test::one(&plan(case, seed, &bins)?, &self.store)?);
        }
        Ok(Ended::Judged(worst))
    }
}

fn powers() -> Powers {
    let has = |name| probe::one(name).is_some_and(|capability| capability.available);
    Powers {
        namespaces: has("netns"),
        loops: has("loop-ext4") && has("loop-xfs"),
        tmpfs: has("tmpfs"),
        tracers: has("strace-inject"),
        liars: has("eatmydata"),
        older: false,
    }
}

fn plan(
    case: &Case,
    seed: u64,
    (bin, bin_old): &(PathBuf, Option<PathBuf>),
) -> Result<Plan, CliError> {
    let nodes = u32::try_from(case.nodes).unwrap_or(3);
    scheduled(Plan {
        name: name(case.workload, case.nemesis),
        workload: case.workload,
        nemesis: case.nemesis.to_vec(),
        seed,
        nodes: case.nodes,
        concurrency: 3 * nodes,
        rate: case.rate,
        time_limit_s: case.seconds,
        nemesis_interval_s: case.interval_s,
        env: case.env,
        disk: case.disk,
        bin: bin.to_owned(),
        bin_old: bin_old.clone(),
        plant: None,
        schedule: Vec::new(),
    })
}
