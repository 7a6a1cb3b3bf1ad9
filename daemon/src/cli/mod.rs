//! The command line: data on standard output, everything else on standard error.

mod backup;
mod bench;
mod cluster;
mod config;
mod dev;
mod exit;
mod operator;
mod places;
mod serve;
mod tls;

use std::{
    fmt::Display,
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Shared clocks that are right for everyone, at once, and stay right when a machine dies.
#[derive(Parser)]
#[command(name = "synckairos", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node of a cluster
    Serve(serve::Serve),
    /// Run a whole cluster on this machine, to try things out and to develop against
    Dev(dev::Dev),
    /// Look after a running cluster
    Cluster(cluster::Cluster),
    /// Put a cluster's state into a file, and begin a new cluster with it
    Backup(backup::Backup),
    /// Look at a node's configuration
    Config(config::Config),
    /// Make the certificates by which the nodes of a cluster know each other
    Tls(tls::Tls),
    /// Put load on a running cluster and measure it
    Bench(bench::Bench),
    /// Print the version
    Version {
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
}

/// The form of what is printed to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Dev(dev) => dev.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Backup(backup) => backup.run(),
        Command::Config(config) => config.run(),
        Command::Tls(tls) => tls.run(),
        Command::Bench(bench) => bench.run(),
        Command::Version { output } => version(output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("synckairos: {error}"));
            exit::code_of(error.as_ref())
        }
    }
}

/// Why a command failed, worded for whoever typed it.
type CliError = Box<dyn std::error::Error + Send + Sync>;

fn version(output: Output) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    // So that no program that could have one is without the mark.
    #[cfg(feature = "planted-bugs")]
    note(format_args!("{} none, or one: not for use", synckairos_protocol::plant::MARKER));
    match output {
        Output::Text => print(format_args!("synckairos {version}")),
        Output::Json => print_json(&serde_json::json!({ "version": version })),
    }
}

/// A line of data.
fn print(line: impl Display) -> Result<(), CliError> {
    writeln!(stdout(), "{line}")?;
    Ok(())
}

fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    print(serde_json::to_string(value)?)
}

/// A line for the person at the terminal.
fn note(line: impl Display) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(stderr(), "{line}");
}
