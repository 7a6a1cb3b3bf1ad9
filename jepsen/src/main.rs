//! `synckairos-jepsen`: the command line of the fault-injection suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    synckairos_jepsen::cli::main()
}
