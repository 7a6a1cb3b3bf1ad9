//! Arithmetic of log positions.

use crate::raft_types::LogId;

/// The index after a position; the first one where there is no position yet.
pub(crate) fn next_index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index + 1)
}
