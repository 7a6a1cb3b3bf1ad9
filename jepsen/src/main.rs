//! The fault-injection suite of SyncKairos. It is not written yet: this crate keeps its place.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("synckairos-jepsen: the fault-injection suite is not part of this version");
    ExitCode::from(2)
}
