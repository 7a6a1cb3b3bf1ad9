//! A node whose data is not what it was comes back, or refuses and is replaced, as an operator
//! would do it.

use std::{io, sync::Arc, time::Duration};

use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::STUCK;
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, look},
};

/// A node checks all of its data when it starts, and what it is missing comes from others.
const BACK_WITHIN: Duration = Duration::from_secs(15);
const ALL_WITHIN: Duration = Duration::from_secs(10);
const VOTES_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// An older copy is found out by the leader a moment after it is ready.
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(1);

/// Waits until all members are ready, name one leader, and have what it has. One that is behind
/// counts as one that is down: what the others agreed on meanwhile, they alone have, and if another
/// one forgot its part of that, nothing would be promised any more.
pub(super) async fn await_all(cluster: &Cluster) -> Result<(), String> {
    cluster.await_agreement(ALL_WITHIN).await?;
    await_same(cluster, None).await
}

/// Waits until the others have a leader, and all that it has. Before that a node that forgot may not
/// vote: it could elect one that lacks what was acknowledged.
async fn await_others(cluster: &Cluster, down: &Node) -> io::Result<()> {
    await_same(cluster, Some(down.id)).await.map_err(io::Error::other)
}

async fn await_same(cluster: &Cluster, besides: Option<u64>) -> Result<(), String> {
    let deadline = Instant::now() + ALL_WITHIN;
    let mut needed = None;
    loop {
        // What the leader has at the first look: more comes all the time.
        if needed.is_none()
            && let Some(leader) = cluster.leader().await.filter(|node| Some(node.id) != besides)
        {
            needed = look::position(&leader).await.map(|position| position.last_log);
        }
        let Err(missing) = all_have(cluster, besides, needed).await else { return Ok(()) };
        if deadline <= Instant::now() {
            return Err(missing);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn all_have(
    cluster: &Cluster,
    besides: Option<u64>,
    needed: Option<u64>,
) -> Result<(), String> {
    let needed = needed.ok_or_else(|| String::from("no node leads"))?;
    for node in cluster.members().into_iter().filter(|node| Some(node.id) != besides) {
        let applied = look::position(&node).await.map_or(0, |position| position.applied);
        if applied < needed {
            return Err(format!("{} is at {applied}, the leader was at {needed}", node.name));
        }
    }
    Ok(())
}

/// Starts a node that may refuse with one of these codes; where it does, another one takes its
/// place. Notes how it went; did the node itself come back?
pub(super) async fn start(
    cluster: &Cluster,
    node: &Arc<Node>,
    (because, codes): (&str, &[i32]),
    active: &mut Active,
) -> io::Result<bool> {
    if !node.runs() {
        await_others(cluster, node).await?;
    }
    node.start()?;
    node.expect_end(because, codes);
    let (deadline, mut needed) = (Instant::now() + BACK_WITHIN, None);
    while Instant::now() < deadline && node.runs() {
        if has_all(cluster, node, &mut needed).await {
            if !node.await_end(FOUND_OUT_WITHIN).await {
                active.note("came_back", true);
                node.expect_life();
                return Ok(true);
            }
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    if node.runs() {
        // Nothing but an operator who wonders can help it; the cluster can do without it until then.
        let said = node.ask("/ready").await.map(|(_, body)| body);
        active.note(STUCK, json!({"said": said, "position": position(node).await}));
        node.kill(because).await;
    } else {
        let code = node.exits().last().and_then(|exit| exit.code);
        active.note("refused_with", json!(code));
    }
    replace(cluster, node, active).await?;
    Ok(false)
}

/// Is it ready, and does it have all that the leader had at the first look? One that lost little and
/// gets nothing more is nearly as far as the others for a while.
async fn has_all(cluster: &Cluster, node: &Node, needed: &mut Option<u64>) -> bool {
    if needed.is_none()
        && let Some(leader) = cluster.leader().await
    {
        *needed = look::position(&leader).await.map(|position| position.last_log);
    }
    let applied = look::position(node).await.map(|position| position.applied);
    let has = applied.zip(*needed).is_some_and(|(applied, needed)| needed <= applied);
    has && node.is_ready().await
}

async fn position(node: &Node) -> Option<serde_json::Value> {
    node.ask("/v1/node").await.map(|(_, told)| told)
}

/// `cluster replace`, and a new node with its token.
async fn replace(cluster: &Cluster, node: &Arc<Node>, active: &mut Active) -> io::Result<()> {
    node.retire();
    let others: Vec<Arc<Node>> =
        cluster.members().into_iter().filter(|other| other.id != node.id && other.runs()).collect();
    let sponsor = others.choose(&mut ChaCha8Rng::seed_from_u64(node.id));
    let sponsor = sponsor.ok_or_else(|| io::Error::other("no other node runs"))?;
    let new = cluster.join(sponsor, Some(node.id)).await?;
    let deadline = Instant::now() + VOTES_WITHIN;
    while !votes(sponsor, new.id).await || votes(sponsor, node.id).await {
        if deadline <= Instant::now() {
            return Err(io::Error::other(format!(
                "{} did not take the place of {}",
                new.name, node.name
            )));
        }
        sleep(LOOK_EVERY).await;
    }
    active.note("replaced_by", json!(new.name));
    Ok(())
}

async fn votes(at: &Node, id: u64) -> bool {
    let Some((200, told)) = at.ask("/v1/cluster/nodes").await else { return false };
    let nodes = told["nodes"].as_array().into_iter().flatten();
    nodes.into_iter().any(|node| node["id"] == id && node["voter"] == true)
}
