//! A node whose data is not what it was comes back, or refuses and is replaced, as an operator
//! would do it.

use std::{io, sync::Arc, time::Duration};

use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, look},
};

/// A node checks all of its data when it starts, and what it is missing comes from others.
const BACK_WITHIN: Duration = Duration::from_secs(15);
const ALL_WITHIN: Duration = Duration::from_secs(10);
const VOTES_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until all members are ready and name one leader.
pub(super) async fn await_all(cluster: &Cluster) -> Result<(), String> {
    cluster.await_agreement(ALL_WITHIN).await
}

/// Starts a node that may refuse with one of these codes; where it does, another one takes its
/// place. Notes how it went; did the node itself come back?
pub(super) async fn start(
    cluster: &Cluster,
    node: &Arc<Node>,
    (because, codes): (&str, &[i32]),
    active: &mut Active,
) -> io::Result<bool> {
    node.start()?;
    node.expect_end(because, codes);
    let deadline = Instant::now() + BACK_WITHIN;
    while Instant::now() < deadline && node.runs() {
        if node.is_ready().await && look::await_caught_up(cluster, node, LOOK_EVERY).await {
            // An older copy is found out by the leader a moment after it is ready.
            sleep(LOOK_EVERY * 20).await;
            if node.runs() {
                active.note("came_back", json!(true));
                return Ok(true);
            }
        }
        sleep(LOOK_EVERY).await;
    }
    if node.runs() {
        return Err(io::Error::other(format!("{} runs, and does not get ready", node.name)));
    }
    let code = node.exits().last().and_then(|exit| exit.code);
    active.note("refused_with", json!(code));
    replace(cluster, node, active).await?;
    Ok(false)
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
