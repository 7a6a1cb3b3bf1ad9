//! `bench-linear`: how long the checker of linearizability takes, and whether it finds anything.

use std::time::{Duration, Instant};

use clap::Args;

use super::{CliError, Ended, print};
use crate::check::{
    linear::{
        self,
        generate::{self, Shape},
    },
    verdict::{Validity, Verdict},
};

#[derive(Args)]
pub(super) struct BenchLinear {
    /// How many histories
    #[arg(long, value_name = "N", default_value_t = 100)]
    histories: u64,
    /// Operations of each
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    operations: u64,
    /// Client processes at once
    #[arg(long, value_name = "N", default_value_t = 9)]
    clients: u32,
    /// Share of writes whose outcome is unknown, of the ordinary histories
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    unknown: f64,
    /// The same of the last history
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    hot: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(String::from("it is 0 to 1")) }
}

impl BenchLinear {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let (mut good, mut changed) = (Tally::default(), Tally::default());
        for seed in (self.seed..).take(usize::try_from(self.histories).unwrap_or(usize::MAX)) {
            let mut run = generate::run(self.shape(seed, self.unknown));
            good.judge(&run);
            if generate::swap_two(&mut run, seed) {
                changed.judge(&run);
            }
        }
        print::line(&good.line("histories as they are"))?;
        print::line(&changed.line("histories with two answers swapped"))?;
        let mut hot = Tally::default();
        hot.judge(&generate::run(self.shape(self.seed, self.hot)));
        let name = format!("history with {:.0} % unknown outcomes", 100.0 * self.hot);
        print::line(&hot.line(&name))?;
        let wrong = good.invalid + hot.invalid + changed.valid;
        let unknown = good.unknown + changed.unknown + hot.unknown;
        Ok(Ended::Judged(match (wrong, unknown) {
            (0, 0) => Validity::Valid,
            (0, _) => Validity::Unknown,
            (_, _) => Validity::Invalid,
        }))
    }

    const fn shape(&self, seed: u64, unknown: f64) -> Shape {
        Shape { seed, operations: self.operations, clients: self.clients, unknown }
    }
}

/// What came of some histories.
#[derive(Default)]
struct Tally {
    valid: u64,
    invalid: u64,
    unknown: u64,
    took: Duration,
    longest: Duration,
    configurations: u64,
}

impl Tally {
    fn judge(&mut self, run: &crate::test::run::Run) {
        let began = Instant::now();
        let verdict: Verdict = linear::check(run);
        let took = began.elapsed();
        match verdict.valid {
            Validity::Valid => self.valid += 1,
            Validity::Invalid => self.invalid += 1,
            Validity::Unknown => self.unknown += 1,
        }
        self.took += took;
        self.longest = self.longest.max(took);
        self.configurations +=
            verdict.facts["patched"]["configurations"].as_u64().unwrap_or_default();
    }

    fn line(&self, name: &str) -> String {
        let Self { valid, invalid, unknown, took, longest, configurations } = self;
        format!(
            "{} {name}: {valid} valid, {invalid} invalid, {unknown} unknown; {:.3} s, the longest \
             {:.3} s, {configurations} configurations",
            valid + invalid + unknown,
            took.as_secs_f64(),
            longest.as_secs_f64(),
        )
    }
}
