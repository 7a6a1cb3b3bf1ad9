//! `synckairos bench`: load on a running cluster, and what it answers to it.

mod connection;
mod load;
mod metrics;
mod report;
mod switch;

use clap::Subcommand;

use super::CliError;

#[derive(clap::Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Switch the clocks of many sessions as fast as they go, or at a fixed rate
    Switch(switch::Switch),
}

impl Bench {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.command {
            BenchCommand::Switch(switch) => switch.run(),
        }
    }
}
