//! The `synckairos-planted` binary: `synckairos` with the one defect that `SYNCKAIROS_PLANT` names,
//! or none where it names none. It is there to be found out by the fault-injection suite.

use std::{
    env,
    io::{Write, stderr},
    process::ExitCode,
};

use synckairos_protocol::plant;

const VARIABLE: &str = "SYNCKAIROS_PLANT";
/// As for any other mistake in how a program is called.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let id = env::var_os(VARIABLE).unwrap_or_default();
    let id = id.to_string_lossy();
    if id.is_empty() {
        note("has planted bugs, and none was asked for");
    } else if let Err(error) = plant::plant(&id) {
        note(&format!("{VARIABLE}: {error}"));
        return WRONG_USAGE.into();
    } else {
        note(&format!("WARNING: this node is WRONG ON PURPOSE: {}{id}", plant::MARKER));
    }
    synckairos_daemon::cli::main()
}

fn note(line: &str) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(stderr(), "synckairos-planted: {line}");
}
