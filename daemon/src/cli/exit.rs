//! With which code the process ends, so that scripts and service managers need not read messages.

use std::process::ExitCode;

use crate::node::NodeError;

/// A command that did what it should, and whose result is told by a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct EndsWith {
    pub(super) code: u8,
    /// For the person at the terminal.
    pub(super) message: String,
}

pub(super) fn code_of(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ExitCode {
    if let Some(node) = error.downcast_ref::<NodeError>() {
        return node.exit_code().into();
    }
    error.downcast_ref::<EndsWith>().map_or(ExitCode::FAILURE, |ends| ends.code.into())
}
