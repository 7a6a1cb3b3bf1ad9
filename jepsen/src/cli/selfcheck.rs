//! `selfcheck`: can the suite find anything at all?

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::Table;
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
        let bin = match self.bin {
            Some(bin) => bin,
            None => program::planted()?,
        };
        let mut table = Table::new();
        table.set_header(["planted bug", "found by", "caught"]);
        let mut worst = Validity::Valid;
        for case in cases {
            let (found, caught) = if case.can_be_judged() {
                let store = self.store.join("selfcheck").join(case.id);
                let _ = run_test::one(&plan(case, self.seed, &bin)?, &store)?;
                let found = found(&store.join("latest"))?;
                let right = found.iter().any(|name| case.expected.contains(&name.as_str()));
                (found.join(", "), if right { "yes" } else { "NO" })
            } else {
                (String::from("this version cannot judge it"), "NO")
            };
            if caught == "NO" {
                worst = Validity::Invalid;
            }
            table.add_row([case.id, &found, caught]);
        }
        print::line(&table.to_string())?;
        Ok(Ended::Judged(worst))
    }
}

/// The checkers that called the test invalid.
fn found(store: &Path) -> Result<Vec<String>, CliError> {
    let Ok(text) = std::fs::read(store.join("results.json")) else { return Ok(Vec::new()) };
    let results: Value = serde_json::from_slice(&text)?;
    let verdicts = results["checkers"].as_array().into_iter().flatten();
    let invalid = verdicts.filter(|verdict| verdict["valid?"] == "invalid");
    Ok(invalid.filter_map(|verdict| verdict["checker"].as_str().map(str::to_owned)).collect())
}

fn plan(case: &PlantCase, seed: u64, bin: &Path) -> Result<Plan, CliError> {
    scheduled(Plan {
        name: name(case.workload, case.nemesis),
        workload: case.workload,
        nemesis: case.nemesis.to_vec(),
        seed,
        nodes: 3,
        concurrency: 9,
        rate: 100.0,
        time_limit_s: case.seconds,
        nemesis_interval_s: 6.0,
        env: EnvKind::Loopback,
        disk: case.disk,
        bin: bin.to_owned(),
        bin_old: None,
        plant: Some(case.id.to_owned()),
        schedule: Vec::new(),
    })
}
