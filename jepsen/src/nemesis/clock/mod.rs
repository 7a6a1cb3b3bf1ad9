//! Wall clocks that jump, strobe, stand still and disagree, and clocks that run fast or slow.
//!
//! A program that was built for tests reads from a file how wrong its clocks are to be. Any other
//! one is restarted under libfaketime, and only its wall clock is set.

mod faketime;
mod wrong;

use std::{collections::BTreeMap, fs, io, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use wrong::Wrong;

use super::{Active, FaultOutcome, Form, Planned, Trouble, look};
use crate::db::{cluster::Cluster, node::Node};

/// Looks at a clock that stands where it stands; the best of them counts.
const LOOKS: u32 = 4;
/// One that strobes is looked at in the middle of it.
const STROBE_LOOKS: u32 = 16;
const STROBE_LOOK_EVERY: Duration = Duration::from_millis(37);
/// A program looks at its file every now and then.
const SETTLE: Duration = Duration::from_millis(60);
const FROZEN_SET_EVERY: Duration = Duration::from_millis(10);
const NS_OF_MS: u64 = 1_000_000;
const CLOCKS: &str = "clocks";
const SET_AT_NS: &str = "set_at_ns";

/// How the wall clock of a node is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Hook,
    Faketime,
}

/// A node's clock, as the evidence has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    wrong: Wrong,
    /// How far its wall clock was from the runner's before, where the node answered.
    before_ms: Option<i64>,
    /// How far it had moved from there, and how long the fault had lasted then, in milliseconds.
    readings: Vec<(i64, i64)>,
    shown: bool,
}

type Clocks = BTreeMap<String, Clock>;

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    if matches!(trouble, Trouble::Drift) { &wrong::DRIFT_FORMS } else { &wrong::CLOCK_FORMS }
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let means = Means::of(cluster);
    let nodes: Vec<Arc<Node>> =
        nodes.into_iter().filter(|node| node.runs() && means.is_right(node)).collect();
    if nodes.is_empty() {
        return Err(FaultOutcome::skipped("no node that was chosen runs with right clocks"));
    }
    if means == Means::Faketime {
        prepare(cluster, planned, &nodes).await?;
    }
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
    let wrongs = wrong::decide(&planned.form, (nodes.len(), look::wall_ms()), &mut random);
    let unknown = || FaultOutcome::skipped(format!("no form is called {}", planned.form));
    let wrongs = wrongs.ok_or_else(unknown)?;
    let before = join_all(nodes.iter().map(|node| look::wall_error(node, LOOKS))).await;
    let mut clocks = Clocks::new();
    for ((node, wrong), before) in nodes.iter().zip(wrongs).zip(before) {
        let before_ms = before.map(|before| before.ms);
        let clock = Clock { wrong, before_ms, readings: Vec::new(), shown: false };
        clocks.insert(node.name.clone(), clock);
    }
    let mut active = Active::on(cluster, nodes).await;
    active.note("means", means.as_str());
    active.note(SET_AT_NS, cluster.recorder.now_ns());
    note_worst(&mut active, &clocks);
    for node in active.nodes.clone() {
        let Some(clock) = clocks.get(&node.name) else { continue };
        match means.install(&node, clock.wrong) {
            Ok(task) => active.tasks.extend(task),
            Err(error) => {
                undo(means, &mut active).await;
                return Err(FaultOutcome::indeterminate(error));
            }
        }
    }
    sleep(SETTLE).await;
    look_at_all(cluster, &active, &mut clocks).await;
    active.note(CLOCKS, json!(clocks));
    Ok(active)
}

pub async fn end(cluster: &Cluster, _planned: &Planned, active: &mut Active) -> FaultOutcome {
    let means = Means::of(cluster);
    let clocks = active.evidence.remove(CLOCKS).unwrap_or_default();
    let mut clocks: Clocks = serde_json::from_value(clocks).unwrap_or_default();
    look_at_all(cluster, active, &mut clocks).await;
    undo(means, active).await;
    active.note(CLOCKS, json!(clocks));
    FaultOutcome::seen(clocks.values().any(|clock| clock.shown), means.unseen())
}

/// For those who judge: how fast clocks ran at most, or how far ahead they were at most.
fn note_worst(active: &mut Active, clocks: &Clocks) {
    let wrongs = || clocks.values().map(|clock| clock.wrong);
    if let Some(ppm) = wrongs().filter_map(Wrong::rate_ppm).map(i64::abs).max() {
        active.note("rate_ppm", ppm);
    }
    if let Some(ms) = wrongs().filter_map(Wrong::ahead_ms).max() {
        active.note("wall_offset_ms", ms);
    }
}

/// Reads every clock once more, as often as that kind of wrong needs.
async fn look_at_all(cluster: &Cluster, active: &Active, clocks: &mut Clocks) {
    let set_at_ns = active.evidence.get(SET_AT_NS).and_then(Value::as_u64).unwrap_or(0);
    let looks = active.nodes.iter().filter(|node| node.runs()).filter_map(|node| {
        let clock = clocks.get(&node.name)?;
        let looking = look_at(cluster, node, clock.clone(), set_at_ns);
        Some(async move { (node.name.clone(), looking.await) })
    });
    let looked = join_all(looks).await;
    clocks.extend(looked);
}

async fn look_at(cluster: &Cluster, node: &Node, mut clock: Clock, set_at_ns: u64) -> Clock {
    let Some(before_ms) = clock.before_ms else { return clock };
    let (times, looks) = match clock.wrong {
        Wrong::Strobe { .. } => (STROBE_LOOKS, 1),
        Wrong::Off { .. } | Wrong::Frozen | Wrong::Rate { .. } => (1, LOOKS),
    };
    for _ in 0..times {
        if let Some(error) = look::wall_error(node, looks).await {
            let lasted_ms = cluster.recorder.now_ns().saturating_sub(set_at_ns) / NS_OF_MS;
            let lasted_ms = i64::try_from(lasted_ms).unwrap_or(i64::MAX);
            clock.readings.push((error.ms - before_ms, lasted_ms));
        }
        if 1 < times {
            sleep(STROBE_LOOK_EVERY).await;
        }
    }
    clock.shown |= clock.wrong.is_shown(&clock.readings);
    clock
}

async fn prepare(
    cluster: &Cluster,
    planned: &Planned,
    nodes: &[Arc<Node>],
) -> Result<(), FaultOutcome> {
    if planned.trouble == Trouble::Drift {
        let why = "only a program that was built for tests has clocks that can run fast or slow";
        return Err(FaultOutcome::skipped(why));
    }
    let library = faketime::library();
    let library = library.ok_or_else(|| FaultOutcome::skipped("libfaketime is not installed"))?;
    for node in nodes {
        let prepared = faketime::prepare(cluster, node, library, &planned.trouble.as_str()).await;
        prepared.map_err(FaultOutcome::indeterminate)?;
    }
    Ok(())
}

async fn undo(means: Means, active: &mut Active) {
    for task in active.tasks.drain(..) {
        task.abort();
        let _ = task.await;
    }
    for node in &active.nodes {
        if let Err(error) = means.set(node, 0, 0) {
            active.evidence.insert(String::from("left_wrong"), Value::from(error.to_string()));
        }
    }
}

impl Means {
    const fn of(cluster: &Cluster) -> Self {
        if cluster.has_test_clock { Self::Hook } else { Self::Faketime }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Faketime => "libfaketime",
        }
    }

    const fn unseen(self) -> &'static str {
        match self {
            Self::Hook => "no node's clock was seen to do what it was told",
            Self::Faketime => "no node's clock moved; maybe it is read past the C library",
        }
    }

    /// Is nothing wrong with its clocks yet? Two faults would take each other's settings away.
    fn is_right(self, node: &Node) -> bool {
        match self {
            Self::Hook => match fs::read_to_string(node.home.join("clock")) {
                Ok(text) => text.split_whitespace().all(|number| number == "0"),
                Err(_) => true,
            },
            Self::Faketime => faketime::is_right(node),
        }
    }

    fn set(self, node: &Node, wall_offset_ms: i64, rate_ppm: i64) -> io::Result<()> {
        match self {
            Self::Hook => node.set_clock(wall_offset_ms, rate_ppm),
            Self::Faketime => faketime::set(node, wall_offset_ms),
        }
    }

    /// Sets the clock wrong; what must go on for it to stay so.
    fn install(self, node: &Arc<Node>, wrong: Wrong) -> io::Result<Option<JoinHandle<()>>> {
        let node = Arc::clone(node);
        match wrong {
            Wrong::Off { ms } => self.set(&node, ms, 0).map(|()| None),
            Wrong::Rate { ppm } => self.set(&node, 0, ppm).map(|()| None),
            Wrong::Strobe { ms, every_ms } => Ok(Some(tokio::spawn(async move {
                for side in [ms, -ms].into_iter().cycle() {
                    // The next one comes soon; whether any did is looked at.
                    let _ = self.set(&node, side, 0);
                    sleep(Duration::from_millis(every_ms)).await;
                }
            }))),
            Wrong::Frozen => Ok(Some(tokio::spawn(async move {
                let began = Instant::now();
                loop {
                    let passed_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
                    let _ = self.set(&node, -passed_ms, 0);
                    sleep(FROZEN_SET_EVERY).await;
                }
            }))),
        }
    }
}
