//! What is broken, when, and whether it was seen to break.

pub mod clients;
pub mod clock;
pub mod disk;
pub mod driver;
pub mod lifecycle;
pub mod look;
pub mod network;
pub mod power;
pub mod process;
pub mod raft;
pub mod schedule;
pub mod squeeze;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::db::{cluster::Cluster, node::Node, process::Process};

/// A family of faults that a test asks for: `--nemesis kill,partition`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// SIGKILL of one node, of the leader, of a majority, of all at once.
    Kill,
    /// SIGTERM, and a start.
    Stop,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// Nodes that cannot reach each other, in one or both directions.
    Partition,
    /// Lost, late, doubled, reordered, damaged and oversized packets; little bandwidth.
    Packet,
    /// Clients that cannot reach a node.
    ClientPartition,
    /// Wall clocks that jump, strobe and stand still.
    Clock,
    /// Clocks that run fast or slow.
    Drift,
    /// Power that fails on one node, a majority or all at once.
    Power,
    /// A disk that says that it synced and did not, then loses power.
    LyingDisk,
    /// Writes and syncs that fail.
    DiskError,
    /// A disk without room.
    DiskFull,
    /// A disk that is slow, or hangs.
    SlowDisk,
    /// Bits that flip in files of a stopped node.
    Corrupt,
    /// A data directory that is lost, or replaced by an old copy of itself.
    DataLoss,
    /// The leadership is handed over, and given up.
    Transfer,
    /// Nodes join, leave, and take others' places.
    Membership,
    /// Snapshots are made, and followers need them.
    Snapshot,
    /// Every node is stopped and started, one after the other.
    RollingRestart,
    /// As that, with another version.
    Upgrade,
    /// Idle sockets, half requests, junk.
    Flood,
    /// Little processor time.
    Squeeze,
}

/// One fault of the schedule. Nodes are chosen when it begins, from `pick`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub id: u64,
    /// From the beginning of the main phase.
    pub at_ms: u64,
    /// From its beginning to its end.
    pub for_ms: u64,
    pub trouble: Trouble,
    /// What exactly: a word that the family knows, such as `leader` or `halves`.
    pub form: String,
    pub target: Target,
    /// Decides everything that is left open, so that a schedule says all.
    pub pick: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    One,
    Minority,
    Majority,
    All,
    Leader,
    Followers,
    /// The leader, and as many others as make a majority with it.
    LeaderAndMinority,
}

/// A fault as it was: a line of `faults.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRecord {
    pub planned: Planned,
    pub began_ns: u64,
    pub ended_ns: u64,
    /// Names of the nodes that it hit.
    pub nodes: Vec<String>,
    /// Was the leader among them?
    pub hit_leader: bool,
    pub outcome: FaultOutcome,
    /// What was seen of it: counters, exit codes, terms.
    pub evidence: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "why")]
pub enum FaultOutcome {
    /// It was installed and its effect was seen.
    Bit,
    /// It was installed, and nothing shows that it had an effect.
    Unseen(String),
    /// It was not installed, for a reason that is no fault of the harness.
    Skipped(String),
    /// Nobody knows whether it was installed.
    Indeterminate(String),
}

/// A fault that is under way.
#[derive(Default)]
pub struct Active {
    /// Those it hits.
    pub nodes: Vec<Arc<Node>>,
    pub hit_leader: bool,
    /// What was seen of it so far.
    pub evidence: Map<String, Value>,
    /// Programs that hold it up, such as a tracer; they end with it.
    pub helpers: Vec<Process>,
    /// Work that goes on while it lasts; aborted at its end.
    pub tasks: Vec<tokio::task::JoinHandle<()>>,
    /// What that work saw; evidence, too, once the fault has ended.
    pub seen: Seen,
}

/// What a fault's work sees while it goes on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Map<String, Value>>>);

/// One way in which a family can break things, and how the schedule draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub word: &'static str,
    pub targets: &'static [Target],
    /// From its beginning to its end, at least and at most.
    pub for_ms: (u64, u64),
}

impl Active {
    /// Hits these nodes; remembers whether the leader is one of them.
    pub async fn on(cluster: &Cluster, nodes: Vec<Arc<Node>>) -> Self {
        let leader = cluster.leader().await.map(|node| node.id);
        let hit_leader = nodes.iter().any(|node| Some(node.id) == leader);
        Self { nodes, hit_leader, ..Self::default() }
    }

    #[must_use]
    pub fn with(mut self, fact: &str, value: impl Into<Value>) -> Self {
        self.note(fact, value);
        self
    }

    pub fn note(&mut self, fact: &str, value: impl Into<Value>) {
        self.evidence.insert(fact.to_owned(), value.into());
    }

    /// Takes what its work saw into the evidence.
    pub fn gather(&mut self) {
        self.evidence.append(&mut self.seen.lock());
    }
}

impl Seen {
    /// One more of these.
    pub fn count(&self, fact: &str) {
        let mut seen = self.lock();
        let count = seen.get(fact).and_then(Value::as_u64).unwrap_or(0);
        seen.insert(fact.to_owned(), Value::from(count + 1));
    }

    /// The most of these at once.
    pub fn most(&self, fact: &str, value: u64) {
        let mut seen = self.lock();
        let most = seen.get(fact).and_then(Value::as_u64).unwrap_or(0);
        seen.insert(fact.to_owned(), Value::from(most.max(value)));
    }

    /// The last of these.
    pub fn set(&self, fact: &str, value: Value) {
        self.lock().insert(fact.to_owned(), value);
    }

    /// Adds to the list of these.
    pub fn list(&self, fact: &str, value: Value) {
        let mut seen = self.lock();
        let list = seen.entry(fact).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultOutcome {
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    pub fn indeterminate(why: impl std::fmt::Display) -> Self {
        Self::Indeterminate(why.to_string())
    }

    /// [`FaultOutcome::Bit`] where it was seen, else unseen because of this.
    pub fn seen(seen: bool, otherwise: &str) -> Self {
        if seen { Self::Bit } else { Self::Unseen(otherwise.to_owned()) }
    }
}
