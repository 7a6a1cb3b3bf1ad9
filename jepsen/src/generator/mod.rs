//! What clients do next. Everything that is drawn is drawn from the test's seed.

pub mod board;
pub mod sessions;

use std::time::Duration;

use serde_json::Value;

use crate::history::op::F;

/// One operation, before a node is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub f: F,
    /// The session, where it is about one.
    pub key: Option<String>,
    /// The body; of a list the query.
    pub request: Value,
    pub idem: Option<String>,
    /// Of the nodes there are, which one: taken modulo their number.
    pub node: usize,
    /// The connection is cut this long after the request was sent.
    pub cut_after: Option<Duration>,
    /// The operation begins at this moment and not at once; on the runner's clock.
    pub at_ns: Option<u64>,
}

impl Step {
    pub const fn new(f: F, key: Option<String>, request: Value, node: usize) -> Self {
        Self { f, key, request, idem: None, node, cut_after: None, at_ns: None }
    }
}
