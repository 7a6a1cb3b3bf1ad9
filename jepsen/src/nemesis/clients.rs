//! Clients without manners: sockets that say nothing, requests that never end, junk, and
//! subscribers that do not read. None of it may cost a node its life.

mod junk;
mod visitors;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustix::process::{Resource, getrlimit};
use tokio::{task::JoinSet, time::sleep};

use super::{Active, FaultOutcome, Form, Planned, Seen, Target, look};
use crate::db::{cluster::Cluster, node::Node};

const IDLE: &str = "idle-sockets";
const HALF: &str = "half-requests";
const JUNK: &str = "junk";
const DEAF: &str = "deaf-subscribers";

/// Nodes hold ten thousand connections, and as many files as they may.
const IDLE_SOCKETS: u64 = 2_000;
const HALF_REQUESTS: u64 = 300;
const JUNK_SENDERS: u64 = 12;
const DEAF_SUBSCRIBERS: u64 = 100;
/// Of the files that a process may have open; nodes have our limit.
const PART_OF_FILES: u64 = 4;
const FILES_MIN: u64 = 200;

const SAMPLE_EVERY: Duration = Duration::from_millis(500);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Connections that came about.
const ACCEPTED: &str = "accepted";
/// Connections that the node ended.
const ENDED: &str = "ended_by_the_node";
/// The most WebSockets and event streams that the node said it had.
const LISTENERS: &str = "listeners_at_most";
const SLOW: &str = "slow_consumers";
const SLOW_METRIC: &str = "synckairos_websocket_slow_consumers_total";
const LISTENER_METRICS: [&str; 2] =
    ["synckairos_websocket_connections", "synckairos_event_streams"];

const AT: &[Target] = &[Target::One, Target::Leader];

const FLOOD: &[Form] = &[
    Form { word: IDLE, targets: AT, for_ms: (5_000, 12_000) },
    Form { word: JUNK, targets: AT, for_ms: (3_000, 8_000) },
    Form { word: DEAF, targets: AT, for_ms: (6_000, 14_000) },
    Form { word: HALF, targets: AT, for_ms: (11_500, 15_000) },
];

pub const fn forms() -> &'static [Form] {
    FLOOD
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let node = nodes.into_iter().find(|node| node.runs());
    let node = node.ok_or_else(|| FaultOutcome::skipped("the chosen node does not run"))?;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < FILES_MIN {
        return Err(FaultOutcome::skipped(format!("a process may have only {files} files open")));
    }
    let wanted = match planned.form.as_str() {
        IDLE => IDLE_SOCKETS,
        HALF => HALF_REQUESTS,
        DEAF => DEAF_SUBSCRIBERS,
        _ => JUNK_SENDERS,
    };
    let many = wanted.min(files / PART_OF_FILES);
    let mut active = Active::on(cluster, vec![Arc::clone(&node)]).await;
    active.note("visitors", many);
    active.note("pid", node.pid());
    active.note(SLOW, count_of(&node, SLOW_METRIC).await);
    let crowd = Crowd { address: node.place.control, seen: active.seen.clone() };
    let (form, pick) = (planned.form.clone(), planned.pick);
    active.tasks.push(tokio::spawn(async move { crowd.run(&form, many, pick).await }));
    active.tasks.push(tokio::spawn(sample(node, active.seen.clone())));
    Ok(active)
}

pub async fn end(planned: &Planned, active: &mut Active) -> FaultOutcome {
    let Some(node) = active.nodes.first().cloned() else {
        return FaultOutcome::indeterminate("it has no node");
    };
    // Its sockets are closed: they went with their tasks.
    active.note("same_process", active.evidence.get("pid") == Some(&node.pid().into()));
    active.note("answers", answers(&node).await);
    let before = number(active, SLOW);
    active.note(SLOW, count_of(&node, SLOW_METRIC).await.saturating_sub(before));
    let (accepted, many) = (number(active, ACCEPTED), number(active, "visitors"));
    match planned.form.as_str() {
        IDLE => FaultOutcome::seen(many / 2 < accepted, "it took few of the connections"),
        DEAF => {
            FaultOutcome::seen(many / 2 < number(active, LISTENERS), "it said that few listened")
        }
        _ => FaultOutcome::seen(0 < number(active, ENDED), "it ended none of the connections"),
    }
}

/// Whoever bothers the node.
#[derive(Clone)]
struct Crowd {
    /// Past the doors of the harness, which would need files for each connection, too.
    address: SocketAddr,
    seen: Seen,
}

impl Crowd {
    /// Goes on until it is dropped, and everybody with it.
    async fn run(self, form: &str, many: u64, pick: u64) {
        let mut visitors = JoinSet::new();
        for number in 0..many {
            let (crowd, random) = (self.clone(), ChaCha8Rng::seed_from_u64(pick ^ number));
            match form {
                IDLE => visitors.spawn(crowd.sit()),
                HALF => visitors.spawn(crowd.dawdle(random)),
                DEAF => visitors.spawn(crowd.hear_nothing(number)),
                _ => visitors.spawn(crowd.babble(random)),
            };
        }
        while visitors.join_next().await.is_some() {}
    }
}

/// Writes down how many listeners the node has.
async fn sample(node: Arc<Node>, seen: Seen) {
    loop {
        let mut listeners = 0;
        for name in LISTENER_METRICS {
            listeners += count_of(&node, name).await;
        }
        seen.most(LISTENERS, listeners);
        sleep(SAMPLE_EVERY).await;
    }
}

async fn count_of(node: &Node, name: &str) -> u64 {
    let value = look::metric(node, name).await.unwrap_or(0.0);
    format!("{value:.0}").parse().unwrap_or(0)
}

async fn answers(node: &Node) -> bool {
    let asking = async {
        while node.ask("/health").await.is_none_or(|(status, _)| status != 200) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(ANSWERS_WITHIN, asking).await.is_ok()
}

fn number(active: &Active, fact: &str) -> u64 {
    active.evidence.get(fact).and_then(serde_json::Value::as_u64).unwrap_or(0)
}
