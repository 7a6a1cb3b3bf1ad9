//! Everything that a test left behind, read back for the checkers.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::plan::Plan;
use crate::{
    history::{
        op::Event,
        pair::{Op, pair},
        tape::{Frame, Tape},
    },
    nemesis::FaultRecord,
};

/// A store directory in memory. A checker is a pure function of it, so it can be repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub plan: Plan,
    pub events: Vec<Event>,
    pub ops: Vec<Op>,
    /// What subscribers saw, ordered by time.
    pub frames: Vec<Frame>,
    pub tape: Tape,
    pub faults: Vec<FaultRecord>,
    pub samples: Vec<Sample>,
    pub ending: Ending,
    /// Names of nodes, with the file of each one's log.
    pub logs: Vec<(String, PathBuf)>,
}

/// What a node said of itself at some moment: a line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub time: u64,
    pub node: String,
    /// `false` where it did not answer.
    pub answered: bool,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub term: u64,
    #[serde(default)]
    pub leader: Option<u64>,
    #[serde(default)]
    pub applied: u64,
    /// Cluster time that it gave, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub cluster_time_ms: u64,
    /// When it was asked for that, on the runner's clock. It answered at `time`.
    #[serde(default)]
    pub asked_ns: u64,
}

/// `ending.json`: what the cluster was asked once everything was healed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Did all nodes get ready and agree on one leader, without anybody's help?
    pub recovered: bool,
    /// Why not.
    pub trouble: Option<String>,
    /// When the last fault had ended, and when all nodes were ready again.
    pub healed_ns: u64,
    pub ready_ns: u64,
    /// When clients had stopped.
    pub quiet_ns: u64,
    pub nodes: Vec<NodeEnding>,
    /// How every process of a node ended.
    pub exits: Vec<Exit>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeEnding {
    pub name: String,
    /// Every session that clients ever named, as this node reads it linearizably; null where it
    /// says that there is none.
    pub sessions: std::collections::BTreeMap<String, Value>,
    /// Ids of all pages of `GET /v1/sessions`.
    pub listed: Vec<String>,
    /// From `backup create` and `backup export`: the revision and a hash of the canonical text.
    pub export: Option<Export>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Export {
    pub revision: u64,
    pub hash: String,
    pub lines: u64,
}

/// How one process of a node ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub node: String,
    pub time: u64,
    /// The exit code, or none where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Who ended it, or what it was expected to end of: the name of a fault, `teardown`, or empty
    /// where nobody asked for it.
    pub because: String,
    /// Exit codes that it was allowed to end with.
    #[serde(default)]
    pub allowed: Vec<i32>,
}

impl Run {
    /// # Errors
    /// Where a file is missing or is no history.
    pub fn load(store: &Path) -> io::Result<Self> {
        let plan: Plan = json(&store.join("test.json"))?;
        let events: Vec<Event> = lines(&store.join("history.jsonl"))?;
        let mut frames: Vec<Frame> = Vec::new();
        for file in entries(&store.join("ws"))? {
            frames.extend(lines::<Frame>(&file)?);
        }
        frames.sort_by_key(|frame| frame.time);
        let mut logs = Vec::new();
        for directory in entries(&store.join("nodes"))? {
            let log = directory.join("node.log");
            if let Some(name) = directory.file_name().and_then(|name| name.to_str())
                && log.exists()
            {
                logs.push((name.to_owned(), log));
            }
        }
        Ok(Self {
            plan,
            ops: pair(&events),
            events,
            tape: Tape::of(&frames),
            frames,
            faults: lines(&store.join("faults.jsonl"))?,
            samples: lines(&store.join("samples.jsonl"))?,
            ending: json(&store.join("ending.json"))?,
            logs,
        })
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = fs::read(path).map_err(|error| named(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| named(path, &error.into()))
}

fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let file = File::open(path).map_err(|error| named(path, &error))?;
    let read = |line: io::Result<String>| serde_json::from_str(&line?).map_err(io::Error::from);
    let lines: io::Result<Vec<T>> = BufReader::new(file).lines().map(read).collect();
    lines.map_err(|error| named(path, &error))
}

/// Sorted; none where there is no such directory.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).map_err(|error| named(directory, &error))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
