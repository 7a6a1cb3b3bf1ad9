//! What a test is made of, on the command line.

use std::path::PathBuf;

use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CliError, program};
use crate::{
    nemesis::{Trouble, schedule},
    test::plan::{DiskKind, EnvKind, Plan, Workload},
};

#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// What clients do
    #[arg(short, long, value_enum, default_value = "register")]
    pub(super) workload: Workload,
    /// What is broken meanwhile: one kind or several, one after the other and at once
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) nemesis: Vec<Trouble>,
    /// How long clients work, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) time_limit: u64,
    /// Mean time from one fault to the next, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(super) nemesis_interval: f64,
    /// Client processes at once: a number, or a multiple of the nodes such as 2n
    #[arg(short, long, value_name = "N", default_value = "3n")]
    pub(super) concurrency: String,
    /// Operations a second, of all processes together
    #[arg(short, long, value_name = "HZ", default_value_t = 100.0)]
    pub(super) rate: f64,
    /// Nodes at the beginning
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(super) nodes: u8,
    /// Decides everything that is drawn [default: a new one]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// How nodes reach each other
    #[arg(long, value_enum, default_value = "loopback")]
    pub(super) env: EnvKind,
    /// What their data lies on
    #[arg(long, value_enum, default_value = "plain")]
    pub(super) disk: DiskKind,
    /// The program under test [default: this workspace's]
    #[arg(long, value_name = "PATH")]
    pub(super) bin: Option<PathBuf>,
    /// The version before, for upgrades
    #[arg(long, value_name = "PATH")]
    pub(super) bin_old: Option<PathBuf>,
}

/// What a benchmark is told besides its length.
#[derive(Args, Clone, Debug)]
pub(super) struct Bench {
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// The program under test [default: this workspace's]
    #[arg(long, value_name = "PATH")]
    pub(super) bin: Option<PathBuf>,
    /// Where histories are kept
    #[arg(long, value_name = "DIR", default_value = "store")]
    pub(super) store: PathBuf,
}

impl Options {
    /// The plan, with a schedule drawn from the seed.
    ///
    /// # Errors
    /// Where the options do not fit together.
    pub(super) fn plan(&self, seed: u64) -> Result<Plan, CliError> {
        if let Some(trouble) = self.nemesis.iter().find(|trouble| trouble.forms().is_empty()) {
            let word = trouble.as_str();
            return Err(CliError::Usage(format!("--nemesis {word}: this version cannot do it")));
        }
        let bin = program::find(self.bin.clone())?;
        let nodes = usize::from(self.nodes);
        let plan = Plan {
            name: name(self.workload, &self.nemesis),
            workload: self.workload,
            nemesis: self.nemesis.clone(),
            seed,
            nodes,
            concurrency: concurrency(&self.concurrency, self.nodes)?,
            rate: self.rate,
            time_limit_s: self.time_limit,
            nemesis_interval_s: self.nemesis_interval,
            env: self.env,
            disk: self.disk,
            bin,
            bin_old: self.bin_old.clone(),
            plant: None,
            schedule: Vec::new(),
        };
        scheduled(plan)
    }

    pub(super) fn first_seed(&self) -> u64 {
        // Short enough to be typed.
        self.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000))
    }
}

/// `register+kill,pause`, and just `register` where nothing is broken.
pub(super) fn name(workload: Workload, nemesis: &[Trouble]) -> String {
    let troubles: Vec<String> = nemesis.iter().map(|trouble| trouble.as_str()).collect();
    if troubles.is_empty() {
        String::from(workload.as_str())
    } else if 4 < troubles.len() {
        format!("{}+{}-kinds", workload.as_str(), troubles.len())
    } else {
        format!("{}+{}", workload.as_str(), troubles.join(","))
    }
}

/// Draws the plan's schedule from its seed.
///
/// # Errors
/// Where the interval is none.
pub(super) fn scheduled(mut plan: Plan) -> Result<Plan, CliError> {
    let interval_ms = (plan.nemesis_interval_s * 1_000.0).clamp(100.0, 3_600_000.0);
    // Between a tenth of a second and an hour, so nothing is lost.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
    let interval_ms = interval_ms as u64;
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let length_ms = plan.time_limit_s.saturating_mul(1_000);
    plan.schedule = schedule::draw(&plan.nemesis, (length_ms, interval_ms), &mut random);
    Ok(plan)
}

fn concurrency(text: &str, nodes: u8) -> Result<u32, CliError> {
    let wrong =
        || CliError::Usage(format!("--concurrency {text:?} is neither a number nor like 2n"));
    let number = match text.strip_suffix('n') {
        Some(factor) => factor.parse::<u32>().map_err(|_| wrong())? * u32::from(nodes),
        None => text.parse().map_err(|_| wrong())?,
    };
    if number == 0 { Err(wrong()) } else { Ok(number) }
}
