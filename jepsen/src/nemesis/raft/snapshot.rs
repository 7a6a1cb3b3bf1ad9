//! A follower is held back until the others have purged what it lacks, so that it needs a snapshot.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Planned, Target, look},
};

const LAGGING: &str = "lagging-follower";
const KILLED: &str = "kill-during-install";
const TWICE: &str = "two-in-a-row";

const FOLLOWER: &[Target] = &[Target::Followers];

pub(super) const FORMS: [Form; 3] = [
    Form { word: LAGGING, targets: FOLLOWER, for_ms: (8_000, 16_000) },
    Form { word: KILLED, targets: FOLLOWER, for_ms: (8_000, 16_000) },
    Form { word: TWICE, targets: FOLLOWER, for_ms: (8_000, 16_000) },
];

/// Entries that a snapshot covers and that nodes keep all the same, by the tests' configuration.
const ENTRIES_KEPT: u64 = 100;
/// The engine purges a moment after it has made a snapshot.
const PURGE_MARGIN: u64 = 30;
/// Where the load is light, purging takes longer than the fault was to last.
const PURGED_WITHIN: Duration = Duration::from_secs(12);
const INSTALLED_WITHIN: Duration = Duration::from_secs(12);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A small snapshot is installed within some ten milliseconds.
const WATCH_EVERY: Duration = Duration::from_millis(1);

/// How a follower is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// SIGSTOP, so that it comes back with all it had in memory.
    Stopped,
    /// Killed, so that it comes back from its disk.
    Down,
}

/// What lies in a node's directory, as far as snapshots are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shelf {
    /// Which state database is in use: a snapshot that is installed makes a new one.
    state: Option<String>,
    /// Something is coming in, or is being installed.
    receiving: bool,
    /// The first entry that the newest complete snapshot does not cover.
    newest: u64,
}

pub(super) async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let node = nodes.into_iter().find(|node| node.runs());
    let node = node.ok_or_else(|| FaultOutcome::skipped("no follower runs"))?;
    let reached = look::position(&node).await.map(|position| position.last_log);
    let reached = reached.ok_or_else(|| FaultOutcome::skipped("the follower does not answer"))?;
    let hold = Hold::of(planned);
    let mut active = Active::on(cluster, vec![Arc::clone(&node)]).await;
    active.note("held", hold.as_str());
    active.note("state_before", Shelf::of(&node).state);
    active.note("reached", reached);
    hold.begin(&node, &planned.trouble.as_str()).await;
    Ok(active)
}

pub(super) async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    let Some(node) = active.nodes.first().cloned() else {
        return FaultOutcome::indeterminate("it has no node");
    };
    let (hold, because) = (Hold::of(planned), planned.trouble.as_str());
    let reached = active.evidence.get("reached").and_then(Value::as_u64).unwrap_or(0);
    let purged = await_purge(cluster, &node, reached).await;
    active.note("purged", purged);
    let first = if planned.form == KILLED {
        let caught = kill_meanwhile(&node, &because).await;
        active.note("killed_meanwhile", caught);
        caught
    } else {
        true
    };
    let mut installs = Vec::new();
    installs.push(comes_back(cluster, &node, hold).await);
    if planned.form == TWICE {
        let reached = look::position(&node).await.map_or(0, |position| position.last_log);
        hold.begin(&node, &because).await;
        let purged = await_purge(cluster, &node, reached).await;
        active.note("purged_again", purged);
        installs.push(comes_back(cluster, &node, hold).await);
    }
    let installed = installs.iter().all(|(installed, _)| *installed);
    let told: Vec<Value> = installs
        .into_iter()
        .map(|(installed, caught_up)| json!({"installed": installed, "caught_up": caught_up}))
        .collect();
    active.note("snapshots", told);
    active.note("state_after", Shelf::of(&node).state);
    if !first {
        return FaultOutcome::Unseen(String::from("it was not caught in the middle of it"));
    }
    FaultOutcome::seen(installed, "it did not need a snapshot")
}

/// Waits until no other node has all that this one lacks; whether that is so.
async fn await_purge(cluster: &Cluster, node: &Node, reached: u64) -> bool {
    let deadline = Instant::now() + PURGED_WITHIN;
    loop {
        let mut others = cluster.members();
        others.retain(|other| other.id != node.id && other.runs());
        let needed = reached + ENTRIES_KEPT + PURGE_MARGIN;
        if !others.is_empty() && others.iter().all(|other| needed < Shelf::of(other).newest) {
            return true;
        }
        if deadline <= Instant::now() {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Lets it go on. Did it install a snapshot, and did it catch up?
async fn comes_back(cluster: &Cluster, node: &Node, hold: Hold) -> (bool, bool) {
    let before = Shelf::of(node).state;
    hold.end(node);
    let installing = async {
        while Shelf::of(node).state == before {
            sleep(LOOK_EVERY).await;
        }
    };
    let installed = timeout(INSTALLED_WITHIN, installing).await.is_ok();
    (installed, look::await_caught_up(cluster, node, CAUGHT_UP_WITHIN).await)
}

/// Lets a node go on and kills it as soon as a snapshot begins to arrive; whether that was before
/// the snapshot was in use.
async fn kill_meanwhile(node: &Node, because: &str) -> bool {
    let before = Shelf::of(node).state;
    Hold::Down.end(node);
    let arrival = async {
        // A start removes what was left of an earlier one.
        while Shelf::of(node).receiving {
            sleep(WATCH_EVERY).await;
        }
        loop {
            let shelf = Shelf::of(node);
            if shelf.receiving || shelf.state != before {
                return;
            }
            sleep(WATCH_EVERY).await;
        }
    };
    let arrived = timeout(INSTALLED_WITHIN, arrival).await.is_ok();
    node.kill(because).await;
    arrived && Shelf::of(node).state == before
}

impl Hold {
    fn of(planned: &Planned) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
        if planned.form == KILLED || random.random() { Self::Down } else { Self::Stopped }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Down => "down",
        }
    }

    async fn begin(self, node: &Node, because: &str) {
        match self {
            Self::Stopped => node.signal(Signal::STOP),
            Self::Down => node.kill(because).await,
        }
    }

    fn end(self, node: &Node) {
        match self {
            Self::Stopped => node.signal(Signal::CONT),
            // Where it cannot be started, it is not seen to catch up.
            Self::Down => drop(node.start()),
        }
    }
}

impl Shelf {
    fn of(node: &Node) -> Self {
        Self::at(&node.storage.data())
    }

    fn at(data: &Path) -> Self {
        let state = fs::read_to_string(data.join("CURRENT-STATE")).ok();
        let state = state.map(|state| state.trim().to_owned());
        let snapshots = names(&data.join("snapshots"));
        let newest = snapshots.iter().filter_map(|name| covered_by(name)).max().unwrap_or(0);
        let states = names(data).into_iter().filter(|name| name.starts_with("state."));
        let receiving = snapshots.iter().any(|name| name.starts_with("received-"))
            || states.into_iter().any(|name| Some(&name) != state.as_ref());
        Self { state, receiving, newest }
    }
}

/// `00000000000000000301-00000000000000000002.snapshot` begins with the entry that comes next.
fn covered_by(name: &str) -> Option<u64> {
    let (next, _) = name.strip_suffix(".snapshot")?.split_once('-')?;
    next.parse().ok()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(directory) else { return Vec::new() };
    files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_tells_what_comes_in_and_what_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        assert_eq!(Shelf::at(data), Shelf::default());
        fs::create_dir(data.join("snapshots")).unwrap();
        fs::create_dir(data.join("state.3")).unwrap();
        fs::write(data.join("CURRENT-STATE"), "state.3\n").unwrap();
        for next in [301, 602] {
            let name = format!("{next:020}-{:020}.snapshot", 2);
            fs::write(data.join("snapshots").join(name), "").unwrap();
        }
        fs::write(data.join("snapshots/built-0.partial"), "").unwrap();
        let state = Some(String::from("state.3"));
        let calm = Shelf { state, receiving: false, newest: 602 };
        assert_eq!(Shelf::at(data), calm);
        fs::write(data.join("snapshots/received-0.partial"), "").unwrap();
        assert!(Shelf::at(data).receiving);
        fs::remove_file(data.join("snapshots/received-0.partial")).unwrap();
        assert_eq!(Shelf::at(data), calm);
        fs::create_dir(data.join("state.4")).unwrap();
        assert!(Shelf::at(data).receiving);
    }

    #[test]
    fn only_what_is_to_die_in_the_middle_is_always_down() {
        let held = |form: &str| -> Vec<Hold> {
            let planned = |pick| Planned {
                id: 0,
                at_ms: 0,
                for_ms: 0,
                trouble: crate::nemesis::Trouble::Snapshot,
                form: form.to_owned(),
                target: Target::Followers,
                pick,
            };
            (0..32).map(|pick| Hold::of(&planned(pick))).collect()
        };
        assert!(held(KILLED).iter().all(|hold| *hold == Hold::Down));
        for hold in [Hold::Down, Hold::Stopped] {
            assert!(held(LAGGING).contains(&hold), "{hold:?}");
        }
    }
}
