//! While this node leads: lets nodes in that wait without data, where they have no vote, and sends
//! those away that have one. A voter without data has lost what it promised.

use std::time::Duration;

use futures_util::future::join_all;
use synckairos_raft_store::raft_types::PeerNode;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Members;
use crate::raft::{peers::Peers, vitals::Vitals};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One that was heard since then takes what it is sent.
const SILENCE_MAX: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// It has to sync its disk.
const LET_IN_WITHIN: Duration = Duration::from_secs(5);
const LOST: &str = "it has a vote in the cluster, and no data";

/// Runs until `stopping` is cancelled.
pub(crate) async fn run(members: Members, peers: Peers, stopping: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        if !members.sessions.leads() {
            continue;
        }
        let vitals = Vitals::of(&members.raft);
        let silent = vitals.members.iter().filter(|(node, _)| {
            let follower = vitals.followers.get(*node);
            let heard = follower.and_then(|follower| follower.heard);
            **node != vitals.node && heard.is_none_or(|heard| SILENCE_MAX < heard)
        });
        let looks = silent.map(|(node, place)| members.look_at(*node, place, &peers));
        tokio::select! {
            _ = join_all(looks) => {}
            () = stopping.cancelled() => return,
        }
    }
}

impl Members {
    async fn look_at(&self, node: u64, place: &PeerNode, peers: &Peers) {
        // Whoever does not answer is down, or cut off.
        let Ok(standing) = peers.standing(node, place, ANSWER_WITHIN).await else { return };
        // A leader that was deposed meanwhile may not know of a vote that the node was given.
        if standing.admitted || self.sessions.read_index_here().await.is_err() {
            return;
        }
        if self.voters().contains(&node) {
            error!(node, "a node that has a vote has lost its data");
            peers.send_away(node, place, (LOST, ANSWER_WITHIN)).await;
            return;
        }
        match peers.let_in(node, place, (standing.incarnation, LET_IN_WITHIN)).await {
            Ok(()) => info!(node, "a node without data takes part from now on"),
            Err(reason) => warn!(node, %reason, "a node without data was not let in"),
        }
    }
}
