//! What a test is made of. With its seed it says everything that the runner decides.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::nemesis::{Planned, Trouble};

/// `test.json` of a store directory: the test map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    pub workload: Workload,
    pub nemesis: Vec<Trouble>,
    pub seed: u64,
    /// Nodes at the beginning: 3 or 5.
    pub nodes: usize,
    /// Client processes that work at once.
    pub concurrency: u32,
    /// Operations a second, of all processes together.
    pub rate: f64,
    /// How long clients work, in seconds.
    pub time_limit_s: u64,
    /// Mean time from the start of one fault to the start of the next, in seconds.
    pub nemesis_interval_s: f64,
    pub env: EnvKind,
    pub disk: DiskKind,
    /// The program under test.
    pub bin: PathBuf,
    /// The version before, for upgrades and downgrades.
    pub bin_old: Option<PathBuf>,
    /// A defect that the program under test was asked to have.
    pub plant: Option<String>,
    /// The faults in the order of their beginnings, drawn from the seed before the test begins.
    pub schedule: Vec<Planned>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Workload {
    /// Switches of a few hot sessions, with and without `expected_version`, and reads.
    Register,
    /// Realistic play in every mode.
    Turns,
    /// Switches aimed at the deadline, from both sides.
    Expiry,
    /// One key sent to several nodes.
    Retries,
    /// Subscribers that are cut, slow, and go on elsewhere.
    Stream,
    /// Several sessions in one request.
    Batch,
    /// Sessions are created, listed and deleted.
    Churn,
    /// Traffic of the client crate, to test it.
    Client,
    /// All of them together.
    Soak,
}

/// How nodes reach each other, and how that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum EnvKind {
    /// A network namespace for each node; as root, or in a user namespace.
    Netns,
    /// Relays on loopback; needs no rights.
    Loopback,
}

/// What a node's data lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// A directory.
    Plain,
    /// A loop-mounted ext4 of its own, whose power can be cut. Needs root.
    LoopExt4,
    /// The same with xfs.
    LoopXfs,
    /// A small tmpfs, which can be filled. Needs root or user namespaces.
    Tmpfs,
}

impl Workload {
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::Turns,
        Self::Expiry,
        Self::Retries,
        Self::Stream,
        Self::Batch,
        Self::Churn,
        Self::Client,
        Self::Soak,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Turns => "turns",
            Self::Expiry => "expiry",
            Self::Retries => "retries",
            Self::Stream => "stream",
            Self::Batch => "batch",
            Self::Churn => "churn",
            Self::Client => "client",
            Self::Soak => "soak",
        }
    }
}
