//! The program as people type it: one command, its output, its exit code.

use std::process::Command;

use serde_json::Value;

use crate::binary;

#[derive(Debug)]
pub struct Printed {
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

/// Runs `synckairos` with these arguments and an empty environment.
///
/// # Panics
/// Where it cannot be run.
pub fn run(arguments: &[&str]) -> Printed {
    let output = Command::new(binary::path()).args(arguments).env_clear().output();
    let output = output.expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

impl Printed {
    /// # Panics
    /// Where it ended with another code.
    #[must_use]
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// # Panics
    /// Where it printed no JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}
