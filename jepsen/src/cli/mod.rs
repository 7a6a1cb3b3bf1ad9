//! The command line. Names and exit codes are Jepsen's.

mod analyze;
mod bench_follower;
mod bench_linear;
mod bench_takeover;
mod export;
mod ledger;
mod options;
mod print;
mod probe;
mod program;
mod run_test;
mod selfcheck;
mod serve;
mod test_all;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    check::verdict::Validity,
    env::enter::{self, Needs},
};

/// Breaks SyncKairos on purpose, and judges what it did.
#[derive(Parser)]
#[command(name = "synckairos-jepsen", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one test, or the same one several times
    Test(run_test::Test),
    /// Run the tests of a suite
    TestAll(test_all::TestAll),
    /// Say what this machine lets the suite do
    Probe(probe::Probe),
    /// Find planted bugs
    Selfcheck(selfcheck::Selfcheck),
    /// Judge stored histories again
    #[command(visible_alias = "check")]
    Analyze(analyze::Analyze),
    /// Add up what was tested so far
    Ledger(ledger::Ledger),
    /// Write a stored history in the form of another checker
    Export(export::Export),
    /// Measure the checker of linearizability on generated histories
    BenchLinear(bench_linear::BenchLinear),
    /// Measure how long nobody leads when the leader is killed, stands still, or hands over
    BenchTakeover(bench_takeover::BenchTakeover),
    /// Measure what one slow follower costs the others
    BenchFollower(bench_follower::BenchFollower),
    /// Show stored tests in a browser
    Serve(serve::Serve),
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It judged nothing, and did what it was asked.
    Done,
    Judged(Validity),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The options do not fit together, or this machine.
    #[error("{0}")]
    Usage(String),
    /// By whoever watches; what there was is judged.
    #[error("ended early")]
    Interrupted,
}

const UNKNOWN: u8 = 2;
const BAD_ARGUMENTS: u8 = 254;
const CRASH: u8 = 255;

/// Whoever runs nodes does it in namespaces of its own, so that nothing is left when it ends. Where
/// that is not allowed, loopback and plain directories do without.
fn enter(command: &Command) -> std::io::Result<()> {
    let (network, mounts) = match command {
        Command::Test(test) => test.needs(),
        Command::TestAll(_) | Command::Selfcheck(_) => {
            let can = |name| crate::env::probe::one(name).is_some_and(|found| found.available);
            (can("netns"), can("tmpfs"))
        }
        Command::Probe(_)
        | Command::Analyze(_)
        | Command::Ledger(_)
        | Command::BenchLinear(_)
        | Command::BenchTakeover(_)
        | Command::BenchFollower(_)
        | Command::Export(_)
        | Command::Serve(_) => (false, false),
    };
    if network || mounts { enter::enter(Needs { network, mounts }) } else { Ok(()) }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = error.exit_code() == 0;
            // Where standard error is closed there is nobody to tell.
            let _ = error.print();
            return if help { ExitCode::SUCCESS } else { ExitCode::from(BAD_ARGUMENTS) };
        }
    };
    if let Err(error) = enter(&cli.command) {
        print::note(&error.to_string());
        return ExitCode::from(CRASH);
    }
    let ended = match cli.command {
        Command::Test(command) => command.run(),
        Command::TestAll(command) => command.run(),
        Command::Probe(command) => command.run(),
        Command::Selfcheck(command) => command.run(),
        Command::Analyze(command) => command.run(),
        Command::Ledger(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::BenchLinear(command) => command.run(),
        Command::BenchTakeover(command) => command.run(),
        Command::BenchFollower(command) => command.run(),
        Command::Serve(command) => command.run(),
    };
    match ended {
        Ok(Ended::Done | Ended::Judged(Validity::Valid)) => ExitCode::SUCCESS,
        Ok(Ended::Judged(Validity::Invalid)) => ExitCode::FAILURE,
        Ok(Ended::Judged(Validity::Unknown)) => ExitCode::from(UNKNOWN),
        Err(error) => {
            print::note(&error.to_string());
            match error {
                CliError::Usage(_) => ExitCode::from(BAD_ARGUMENTS),
                CliError::Interrupted => ExitCode::from(UNKNOWN),
                CliError::Io(_) | CliError::Json(_) => ExitCode::from(CRASH),
            }
        }
    }
}
