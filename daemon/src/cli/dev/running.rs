//! `running.json`: the processes as the supervisor last saw them.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::layout::{LayoutError, damaged, io_at};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) nodes: Vec<RunningNode>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunningNode {
    pub(super) id: u64,
    pub(super) http: String,
    pub(super) peer: String,
    /// `None` while the node is down.
    pub(super) pid: Option<u32>,
}

impl Running {
    /// What the supervisor of `dir` last wrote.
    pub(super) fn read(dir: &Path) -> Result<Self, LayoutError> {
        let path = dir.join("running.json");
        let text = fs::read_to_string(&path).map_err(io_at(&path))?;
        serde_json::from_str(&text).map_err(damaged(&path))
    }
}
