//! Answers go to standard output, everything else to standard error.

use std::io::{self, Write};

/// A line of the answer.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line for whoever watches.
pub(super) fn note(text: &str) {
    // Where standard error is closed nobody watches.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
