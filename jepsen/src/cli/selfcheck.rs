//! `selfcheck`: can the suite find anything at all?

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde_json::Value;

use super::{
    CliError, Ended,
    options::{name, scheduled},
    print, program, run_test,
};
use crate::{
    check::verdict::Validity,
    suite::plants::{PLANTS, PlantCase},
    test::plan::{EnvKind, Plan},
};

#[derive(Args)]
pub(super) struct Selfcheck {
    /// Only this planted bug
    #[arg(long, value_name = "ID")]
    plant: Option<String>,
    /// So many of the same tests without a bug: none of them may be called invalid
    #[arg(long, value_name = "N", default_value_t = 0)]
    clean: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program with planted bugs [default: this workspace's]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// Where histories are kept
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
}

impl Selfcheck {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let wanted = |case: &&PlantCase| self.plant.as_deref().is_none_or(|id| id == case.id);
        let cases: Vec<&PlantCase> = PLANTS.iter().filter(wanted).collect();
        if cases.is_empty() {
            return Err(CliError::Usage(String::from("there is no such planted bug")));
        }
        let bin = match &self.bin {
            Some(bin) => bin.clone(),
            None => program::planted()?,
        };
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN);
        table.set_header(["planted bug", "found by", "seen after", "caught"]);
        let mut worst = Validity::Valid;
        for case in &cases {
            let store = self.store.join("selfcheck").join(case.id);
            let _ = run_test::one(&plan(case, self.seed, &bin)?, &store)?;
            let found = found(&run_test::latest(&store))?;
            let right =
                found.iter().filter(|found| case.expected.contains(&found.checker.as_str()));
            let after = right.clone().filter_map(|found| found.after_s).min();
            let is_caught = 0 < right.count();
            if !is_caught {
                worst = Validity::Invalid;
            }
            let names: Vec<String> = found.into_iter().map(|found| found.checker).collect();
            let after =
                after.map_or_else(|| String::from("at the end"), |after| format!("{after} s"));
            let caught = if is_caught { "yes" } else { "NO" };
            table.add_row([
                case.id,
                &names.join(", "),
                if is_caught { &after } else { "" },
                caught,
            ]);
        }
        let alarms = self.without_a_bug(&cases, &bin)?;
        print::line(&table.to_string())?;
        print::line(&format!("{} runs without a bug, {alarms} false alarms", self.clean))?;
        Ok(Ended::Judged(if alarms == 0 { worst } else { Validity::Invalid }))
    }

    /// The same tests on the same program, with no bug chosen. Returns how many were called
    /// invalid.
    fn without_a_bug(&self, cases: &[&PlantCase], bin: &Path) -> Result<usize, CliError> {
        let mut alarms = 0;
        for (case, seed) in cases.iter().cycle().take(self.clean).zip(self.seed..) {
            let store = self.store.join("selfcheck").join("clean");
            let plan = Plan { plant: None, ..plan(case, seed, bin)? };
            alarms += usize::from(run_test::one(&plan, &store)? == Validity::Invalid);
        }
        Ok(alarms)
    }
}

/// A checker that called the test invalid.
struct Found {
    checker: String,
    /// The time of the first thing that is wrong, in seconds from the beginning.
    after_s: Option<u64>,
}

fn found(store: &Path) -> Result<Vec<Found>, CliError> {
    let Ok(text) = std::fs::read(store.join("results.json")) else { return Ok(Vec::new()) };
    let results: Value = serde_json::from_slice(&text)?;
    let verdicts = results["checkers"].as_array().into_iter().flatten();
    let invalid = verdicts.filter(|verdict| verdict["valid?"] == "invalid");
    let found = invalid.filter_map(|verdict| {
        let anomalies = verdict["anomalies"].as_array().into_iter().flatten();
        let first_ns = anomalies.filter_map(|anomaly| anomaly["time_ns"].as_u64()).min();
        let checker = verdict["checker"].as_str()?.to_owned();
        Some(Found { checker, after_s: first_ns.map(|ns| ns / 1_000_000_000) })
    });
    Ok(found.collect())
}

fn plan(case: &PlantCase, seed: u64, bin: &Path) -> Result<Plan, CliError> {
    scheduled(Plan {
        name: name(case.workload, case.nemesis),
        workload: case.workload,
        nemesis: case.nemesis.to_vec(),
        seed,
        nodes: 3,
        concurrency: 12,
        rate: case.rate,
        time_limit_s: case.seconds,
        nemesis_interval_s: case.interval_s,
        env: EnvKind::Loopback,
        disk: case.disk,
        bin: bin.to_owned(),
        bin_old: None,
        plant: Some(case.id.to_owned()),
        schedule: Vec::new(),
    })
}
