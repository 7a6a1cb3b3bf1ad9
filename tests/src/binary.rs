//! Where the program under test is.

use std::{env, path::PathBuf};

/// Names another binary than the one of this build.
const OVERRIDE: &str = "SYNCKAIROS_BIN";

/// The `synckairos` binary: `SYNCKAIROS_BIN`, or the one that was built beside this test.
///
/// # Panics
/// Where there is none.
pub fn path() -> PathBuf {
    if let Some(path) = env::var_os(OVERRIDE) {
        return PathBuf::from(path);
    }
    let test = env::current_exe().expect("the running test has a path");
    // target/PROFILE/deps/TEST-HASH
    let profile = test.parent().and_then(|deps| deps.parent()).expect("tests run in a target dir");
    let path = profile.join("synckairos");
    assert!(
        path.exists(),
        "{} does not exist: run `cargo build --workspace` first, or set {OVERRIDE}",
        path.display()
    );
    path
}
