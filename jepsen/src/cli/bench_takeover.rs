//! `bench-takeover`: how long nobody leads.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CliError, Ended, options::Bench, print, program, run_test};
use crate::{
    check::{availability, quantile::Quantiles, verdict::Validity},
    nemesis::{Planned, Target, Trouble},
    test::{
        plan::{DiskKind, EnvKind, Plan, Workload},
        run::Run,
    },
};

/// Clients work alone for a moment first.
const FIRST_AT_MS: u64 = 3_000;
/// Two in three are writes. One every four milliseconds or so tells when writes are possible again;
/// of the hundreds around a fault the longest pause is twenty to forty, which no figure goes below.
const RATE: f64 = 400.0;
/// Those that were asked for at a leader that does not answer wait for it; others must be left.
const CLIENTS: u32 = 150;

#[derive(Args)]
pub(super) struct BenchTakeover {
    /// How often for each way in which a leader goes
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: u64,
    #[command(flatten)]
    bench: Bench,
}

/// A way in which a leader goes.
struct Way {
    name: &'static str,
    trouble: Trouble,
    form: &'static str,
    /// How long it is away.
    for_ms: u64,
    /// From one to the next: whoever was away is back by then, and has caught up.
    every_ms: u64,
}

const WAYS: [Way; 3] = [
    Way { name: "kill -9", trouble: Trouble::Kill, form: "leader", for_ms: 1_000, every_ms: 3_000 },
    Way {
        name: "SIGSTOP",
        trouble: Trouble::Pause,
        form: "leader",
        for_ms: 1_500,
        every_ms: 3_000,
    },
    Way {
        name: "planned transfer",
        trouble: Trouble::Transfer,
        form: "transfer",
        for_ms: 1_000,
        every_ms: 1_500,
    },
];

impl BenchTakeover {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let bin = program::find(self.bench.bin.clone())?;
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN);
        table.set_header(["the leader goes by", "count", "p50 ms", "p99 ms", "max ms"]);
        let (mut worst, mut all) = (Validity::Valid, serde_json::Map::new());
        for way in &WAYS {
            let plan = way.plan(self.count, self.bench.seed, bin.clone());
            worst = worst.max(run_test::one(&plan, &self.bench.store)?);
            let run = Run::load(&run_test::latest(&self.bench.store))?;
            let takeovers = availability::takeovers(&run);
            let figures = Quantiles::of(takeovers.iter().map(|takeover| takeover.ms)).to_value();
            let figure = |name: &str| figures[name].to_string();
            table.add_row([
                String::from(way.name),
                figure("count"),
                figure("p50"),
                figure("p99"),
                figure("max"),
            ]);
            all.insert(format!("{}_ms", way.trouble.as_str()), figures);
        }
        print::line(&table.to_string())?;
        print::line(&serde_json::Value::Object(all).to_string())?;
        print::line(
            "The longest time without an acknowledged write: from the last one before to the first one \
             after it, at any node.",
        )?;
        Ok(Ended::Judged(worst))
    }
}

impl Way {
    fn plan(&self, count: u64, seed: u64, bin: PathBuf) -> Plan {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let planned = |id| Planned {
            id,
            at_ms: FIRST_AT_MS + id * self.every_ms,
            for_ms: self.for_ms,
            trouble: self.trouble,
            form: self.form.to_owned(),
            target: Target::Leader,
            pick: random.random(),
        };
        let schedule: Vec<Planned> = (0..count).map(planned).collect();
        let length_ms = FIRST_AT_MS + count * self.every_ms + self.for_ms;
        Plan {
            name: format!("takeover+{}", self.trouble.as_str()),
            // Enough sessions that writes do not refuse each other, and nobody who only reads.
            workload: Workload::Stream,
            nemesis: vec![self.trouble],
            seed,
            nodes: 3,
            concurrency: CLIENTS,
            rate: RATE,
            time_limit_s: length_ms.div_ceil(1_000),
            nemesis_interval_s: std::time::Duration::from_millis(self.every_ms).as_secs_f64(),
            env: EnvKind::Loopback,
            disk: DiskKind::Plain,
            bin,
            bin_old: None,
            plant: None,
            schedule,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leader_goes_at_a_time() {
        for way in &WAYS {
            let plan = way.plan(20, 7, PathBuf::new());
            assert_eq!(plan.schedule.len(), 20);
            for pair in plan.schedule.windows(2) {
                assert!(pair[0].at_ms + pair[0].for_ms < pair[1].at_ms, "{}", way.name);
            }
            let last = plan.schedule.last().map_or(0, |last| last.at_ms + last.for_ms);
            assert!(last <= plan.time_limit_s * 1_000);
        }
    }
}
