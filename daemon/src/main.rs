//! The `synckairos` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    synckairos_daemon::cli::main()
}
