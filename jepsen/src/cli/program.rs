//! Where the program under test is.

use std::{env, path::PathBuf, process::Command};

use super::{CliError, print};

/// The one that was given, else the one of this workspace, built if it is not.
///
/// # Errors
/// Where there is none, or it cannot be built.
pub(super) fn find(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    match given {
        Some(path) => existing(path),
        None => built("synckairos", &[]),
    }
}

/// The program with planted bugs, built if it is not.
///
/// # Errors
/// As [`find`].
pub(super) fn planted() -> Result<PathBuf, CliError> {
    built("synckairos-planted", &["--features", "planted-bugs"])
}

fn existing(path: PathBuf) -> Result<PathBuf, CliError> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) => Err(CliError::Usage(format!("{}: {error}", path.display()))),
    }
}

/// Under `cargo run`, `CARGO` names cargo: it is asked, so that a program that is out of date is
/// never judged. Elsewhere the program lies beside this one.
fn built(name: &str, features: &[&str]) -> Result<PathBuf, CliError> {
    let here = env::current_exe()?;
    let beside = here.parent().map(|directory| directory.join(name)).unwrap_or_default();
    let Some(cargo) = env::var_os("CARGO") else { return existing(beside) };
    print::note(&format!("building {name}"));
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "synckairos-daemon", "--bin", name]).args(features);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !command.status()?.success() {
        return Err(CliError::Usage(format!("{name} cannot be built; give it with --bin")));
    }
    existing(beside)
}
