//! A node that was removed learns of it, and ends; the others let it in no more.
//!
//! The entry that removes a node is not sent to it any more. So it may hear of it only from the
//! others, when they close its connections.

use std::time::Duration;

use futures_util::future::join_all;
use synckairos_raft_store::Applied;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::raft::{Raft, messages::AppRequest, peers::Peers, vitals::Vitals};

/// How often a node looks who was removed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A node that hears no leader for so long asks others, as often.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Has this node been removed? Set once, by whoever learns of it first.
#[derive(Clone, Debug)]
pub(crate) struct Removed(watch::Sender<bool>);

impl Removed {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn note(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_noted(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until this node has been removed.
    pub(crate) async fn noted(&self) {
        let mut removed = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = removed.wait_for(|removed| *removed).await;
    }
}

/// Was `node` a member, and is none any more?
pub(crate) fn is_retired(applied: &Applied, node: u64) -> bool {
    applied.read(|machine| machine.roster().is_retired(node))
}

/// Gives up the ways to nodes that were removed, and asks others where no leader is heard: one that
/// was removed is dialled by nobody. Runs until `stopping` is cancelled.
pub(crate) async fn run(raft: Raft, applied: Applied, peers: Peers, stopping: CancellationToken) {
    let own = *raft.node_id();
    let mut asked = Instant::now();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        if is_retired(&applied, own) {
            peers.removed().note();
        }
        peers.forget(|node| is_retired(&applied, node));
        if SILENCE_MAX < peers.clock().silence()
            && SILENCE_MAX < asked.elapsed()
            && !raft.is_leader()
        {
            asked = Instant::now();
            ask_anybody(&raft, &peers).await;
        }
    }
}

/// Whoever lets this node in no more says so when it is dialled.
async fn ask_anybody(raft: &Raft, peers: &Peers) {
    let vitals = Vitals::of(raft);
    let others = vitals.members.iter().filter(|(node, _)| **node != vitals.node);
    let calls =
        others.map(|(node, place)| peers.call(*node, place, AppRequest::Report, ANSWER_WITHIN));
    join_all(calls).await;
}
