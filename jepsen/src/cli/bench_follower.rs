//! `bench-follower`: what one slow follower costs the others.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};

use super::{CliError, Ended, options::Bench, print, program, run_test};
use crate::{
    check::{quantile::Quantiles, window},
    nemesis::{Planned, Target, Trouble, disk::slow::THROTTLED, network::packets::FAR},
    test::{
        plan::{DiskKind, EnvKind, Plan, Workload},
        run::Run,
    },
};

/// Clients work alone for a moment first.
const FIRST_AT_MS: u64 = 15_000;
const SLOW_MS: u64 = 15_000;
const EVERY_MS: u64 = 30_000;
/// A node that has just become slow is not yet left behind.
const MARGIN_NS: u64 = 2_000_000_000;
/// So long before a round nothing is left of the one before.
const HEALTHY_NS: u64 = 13_000_000_000;
/// Two in three are writes.
const RATE: f64 = 200.0;
/// So many that they ask the other nodes hardly less often while some wait for the slow one.
const CLIENTS: u32 = 240;

#[derive(Args)]
pub(super) struct BenchFollower {
    /// How often the follower is slow, fifteen seconds each time
    #[arg(long, value_name = "N", default_value_t = 8)]
    rounds: u64,
    #[command(flatten)]
    bench: Bench,
}

impl BenchFollower {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let plan = self.plan(program::find(self.bench.bin.clone())?);
        let judged = run_test::one(&plan, &self.bench.store)?;
        let run = Run::load(&run_test::latest(&self.bench.store))?;
        let [healthy, slow] = latencies_us(&run).map(Quantiles::of);
        let (healthy, slow) = (healthy.to_value(), slow.to_value());
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN);
        table.set_header(["one follower", "writes", "p50 us", "p99 us", "max us"]);
        for (name, figures) in [("like the others", &healthy), ("slow", &slow)] {
            let figure = |name: &str| figures[name].to_string();
            table.add_row([
                String::from(name),
                figure("count"),
                figure("p50"),
                figure("p99"),
                figure("max"),
            ]);
        }
        print::line(&table.to_string())?;
        let both = serde_json::json!({"healthy_us": healthy, "slow_us": slow});
        print::line(&both.to_string())?;
        if let (Some(healthy), Some(slow)) = (healthy["p99"].as_f64(), slow["p99"].as_f64()) {
            print::line(&format!("p99 slow / healthy: {:.2}", slow / healthy))?;
        }
        print::line(
            "Writes asked for at the other nodes. Slow: 100 ms to and from it, and 100 ms more for \
             each of its syncs.",
        )?;
        Ok(Ended::Judged(judged))
    }

    fn plan(&self, bin: PathBuf) -> Plan {
        let fault = |round: u64, trouble, form: &str| Planned {
            id: 2 * round + u64::from(trouble == Trouble::SlowDisk),
            at_ms: FIRST_AT_MS + round * EVERY_MS,
            for_ms: SLOW_MS,
            trouble,
            form: form.to_owned(),
            target: Target::Followers,
            // The same one for both.
            pick: self.bench.seed + round,
        };
        let rounds = (0..self.rounds).flat_map(|round| {
            [fault(round, Trouble::Packet, FAR), fault(round, Trouble::SlowDisk, THROTTLED)]
        });
        Plan {
            name: String::from("slow-follower"),
            // Enough sessions that writes do not refuse each other, and nobody who only reads.
            workload: Workload::Stream,
            nemesis: vec![Trouble::Packet, Trouble::SlowDisk],
            seed: self.bench.seed,
            nodes: 3,
            concurrency: CLIENTS,
            rate: RATE,
            time_limit_s: (FIRST_AT_MS + self.rounds * EVERY_MS) / 1_000,
            nemesis_interval_s: std::time::Duration::from_millis(EVERY_MS).as_secs_f64(),
            env: EnvKind::Loopback,
            disk: DiskKind::Plain,
            bin,
            bin_old: None,
            plant: None,
            schedule: rounds.collect(),
        }
    }
}

/// How long acknowledged writes took, in the healthy seconds before each round and in its slow
/// ones; without those that were asked for at the round's follower. Where the two faults did not
/// hit one and the same node, the round says nothing.
fn latencies_us(run: &Run) -> [Vec<u64>; 2] {
    let mut latencies = [Vec::new(), Vec::new()];
    let of = |trouble| window::installed(run).filter(move |fault| fault.planned.trouble == trouble);
    for far in of(Trouble::Packet) {
        let round = far.planned.id + 1;
        let Some(slow) = of(Trouble::SlowDisk).find(|slow| slow.planned.id == round) else {
            continue;
        };
        let [node] = far.nodes.as_slice() else { continue };
        if slow.nodes != far.nodes || far.hit_leader || slow.hit_leader {
            continue;
        }
        let first_ns = far.began_ns.min(slow.began_ns);
        let spans = [
            (first_ns.saturating_sub(HEALTHY_NS), first_ns),
            (far.began_ns.max(slow.began_ns) + MARGIN_NS, far.ended_ns.min(slow.ended_ns)),
        ];
        for op in run.ops.iter().filter(|op| op.f.writes() && op.answer().is_some()) {
            let Some(returned_ns) = op.returned_ns.filter(|_| op.node != *node) else { continue };
            for (span, latencies) in spans.iter().zip(&mut latencies) {
                if span.0 <= op.invoked_ns && returned_ns < span.1 {
                    latencies.push((returned_ns - op.invoked_ns) / 1_000);
                }
            }
        }
    }
    latencies
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{check::example::Example, history::op::F};

    /// One round, in which `hit` were slow, and writes before it and in it.
    fn round(hit: [&str; 2]) -> Run {
        let mut example = Example::new();
        example.fault(Trouble::Packet, &[hit[0]], (20_000, 35_000));
        example.fault(Trouble::SlowDisk, &[hit[1]], (20_000, 35_000));
        let writes = [
            ("n1", 2_000, 99),
            ("n1", 10_000, 3),
            ("n2", 11_000, 50),
            ("n1", 20_500, 70),
            ("n1", 30_000, 4),
            ("n2", 31_000, 300),
            ("n1", 36_000, 80),
        ];
        for (_, at_ms, took_ms) in writes {
            let span = (at_ms, at_ms + took_ms);
            example.op((F::Switch, Some("s")), Value::Null, span, Ok(json!({})));
        }
        let mut run = example.run();
        for (op, (node, ..)) in run.ops.iter_mut().zip(writes) {
            op.node = String::from(node);
        }
        run
    }

    #[test]
    fn each_round_is_compared_with_the_seconds_before_it() {
        assert_eq!(latencies_us(&round(["n2", "n2"])), [vec![3_000], vec![4_000]]);
        let nothing: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
        assert_eq!(latencies_us(&round(["n2", "n3"])), nothing);
    }

    #[test]
    fn both_faults_are_aimed_at_one_node_and_rounds_do_not_overlap() {
        let store = PathBuf::from("store");
        let bench = Bench { seed: 5, bin: None, store };
        let plan = BenchFollower { rounds: 3, bench }.plan(PathBuf::new());
        for pair in plan.schedule.chunks(2) {
            assert_eq!((pair[0].pick, pair[0].at_ms), (pair[1].pick, pair[1].at_ms));
            assert_eq!(pair[0].id + 1, pair[1].id);
        }
        assert!(plan.schedule[1].at_ms + SLOW_MS < plan.schedule[2].at_ms);
    }
}
