//! What nodes say of themselves: the evidence of most faults. They are asked on the harness's own
//! way, which no fault touches.

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{Rng, seq::IndexedRandom};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::http::{self, Question},
    db::{cluster::Cluster, node::Node},
};

/// A node that asks others waits half a second for each that does not answer.
const STATUS_WITHIN: Duration = Duration::from_secs(3);
const METRICS_WITHIN: Duration = Duration::from_secs(2);
const METRICS_BYTES_MAX: u64 = 4 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Cluster time minus the node's wall clock.
const WALL_OFFSET: &str = "synckairos_cluster_time_offset_ms";
/// A node that is so near to the end of the log follows it.
const BEHIND_MAX: u64 = 50;

/// Where a node is in its cluster: `GET /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) last_log: u64,
    pub(crate) applied: u64,
}

/// How far a node's wall clock is from the runner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WallError {
    pub(crate) ms: i64,
    /// It is right to half of this, and a millisecond or two.
    pub(crate) round_trip_ms: i64,
}

pub(crate) async fn position(node: &Node) -> Option<Position> {
    let (200, body) = node.ask("/v1/node").await? else { return None };
    Some(Position {
        role: body["role"].as_str()?.to_owned(),
        term: body["term"].as_u64()?,
        leader: body["leader_id"].as_u64(),
        last_log: body["last_log"].as_u64()?,
        applied: body["applied"].as_u64()?,
    })
}

/// `GET /v1/cluster/status`.
pub(crate) async fn status(node: &Node) -> Option<Value> {
    let question = Question::get("/v1/cluster/status");
    let answer = http::ask(node.place.control, &question, STATUS_WITHIN).await.ok()?;
    (answer.status == 200).then_some(answer.body)
}

/// Who votes, as a status tells.
pub(crate) fn voters_of(status: &Value) -> BTreeSet<u64> {
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let voters = nodes.iter().filter(|node| node["voter"] == true);
    voters.filter_map(|node| node["id"].as_u64()).collect()
}

/// The leader; where there is none, an election may be under way.
pub(crate) async fn await_leader(cluster: &Cluster, within: Duration) -> Option<Arc<Node>> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(leader) = cluster.leader().await {
            return Some(leader);
        }
        if deadline <= Instant::now() {
            return None;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A member, any of those that are ready, besides these.
pub(crate) async fn anybody_ready(
    cluster: &Cluster,
    besides: &[u64],
    random: &mut impl Rng,
) -> Option<Arc<Node>> {
    let mut ready = Vec::new();
    for node in cluster.members() {
        if !besides.contains(&node.id) && node.is_ready().await {
            ready.push(node);
        }
    }
    ready.choose(random).cloned()
}

/// Until the node is ready and has nearly everything that the leader has.
pub(crate) async fn await_caught_up(cluster: &Cluster, node: &Node, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while !has_caught_up(cluster, node).await {
        if deadline <= Instant::now() {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

async fn has_caught_up(cluster: &Cluster, node: &Node) -> bool {
    if !node.is_ready().await {
        return false;
    }
    let Some(leader) = cluster.leader().await else { return false };
    let (Some(there), Some(here)) = (position(&leader).await, position(node).await) else {
        return false;
    };
    there.last_log <= here.applied + BEHIND_MAX
}

/// The value of a metric without labels.
pub(crate) async fn metric(node: &Node, name: &str) -> Option<f64> {
    let text = timeout(METRICS_WITHIN, metrics(node)).await.ok()?.ok()?;
    value_in(&text, name)
}

/// The answer as it comes: its head and its body.
async fn metrics(node: &Node) -> io::Result<String> {
    let mut stream = TcpStream::connect(node.place.control).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.take(METRICS_BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

fn value_in(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The best of several looks at a node's wall clock: cluster time, which the node tells, minus its
/// distance from the wall clock, which it tells, too.
pub(crate) async fn wall_error(node: &Node, looks: u32) -> Option<WallError> {
    let mut best: Option<WallError> = None;
    for _ in 0..looks {
        let Some(error) = look_at_wall(node).await else { continue };
        if best.is_none_or(|best| error.round_trip_ms < best.round_trip_ms) {
            best = Some(error);
        }
    }
    best
}

async fn look_at_wall(node: &Node) -> Option<WallError> {
    let (before, asked) = (wall_ms(), Instant::now());
    let (200, time) = node.ask("/v1/time").await? else { return None };
    let round_trip_ms = i64::try_from(asked.elapsed().as_millis()).ok()?;
    let cluster_ms = i64::try_from(time["timestamp_ms"].as_u64()?).ok()?;
    let offset_ms = whole(metric(node, WALL_OFFSET).await?)?;
    let ms = cluster_ms - offset_ms - (before + round_trip_ms / 2);
    Some(WallError { ms, round_trip_ms })
}

/// The runner's wall clock.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A metric is a float; those that count are whole.
fn whole(value: f64) -> Option<i64> {
    format!("{value:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP offset_ms Cluster time\noffset_ms_total 4\n\
                    offset_ms -3600000\nother{role=\"leader\"} 1\n";
        assert_eq!(value_in(text, "offset_ms").and_then(whole), Some(-3_600_000));
        assert_eq!(value_in(text, "offset_ms_total"), Some(4.0));
        assert_eq!(value_in(text, "offset"), None);
        assert_eq!(value_in(text, "other"), None);
        assert_eq!(whole(1.7956e12), Some(1_795_600_000_000));
    }

    #[test]
    fn a_status_tells_who_votes() {
        let status = json!({"asked": 2, "nodes": [
            {"id": 1, "voter": true}, {"id": 2, "voter": true, "wall_offset_ms": -7},
            {"id": 4, "voter": false},
        ]});
        assert_eq!(voters_of(&status), BTreeSet::from([1, 2]));
        assert_eq!(voters_of(&json!({})), BTreeSet::new());
    }
}
