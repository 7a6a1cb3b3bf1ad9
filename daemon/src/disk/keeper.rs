//! Looks at the disk again and again, and acts on what it sees: a node without room neither leads
//! nor stands for election, unless nobody else does.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::{Disk, Reading, Room};
use crate::{
    health::Survey,
    raft::{Raft, candidacy, clock::ClusterClock},
    telemetry::metrics::Metrics,
};

/// A disk that fills at a gigabyte a second loses half of the default reserve meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two attempts to find another leader: each costs the cluster a moment without one.
const HANDOVER_EVERY: Duration = Duration::from_secs(5);
/// Where nobody has led for so long, a node that is low on room stands all the same, so that the
/// sessions can be read.
const LAST_RESORT_AFTER: Duration = Duration::from_secs(10);

/// What the keeper needs.
pub(crate) struct Keeper {
    pub(crate) disk: Disk,
    pub(crate) raft: Raft,
    pub(crate) clock: ClusterClock,
    pub(crate) survey: Survey,
    pub(crate) metrics: Metrics,
}

/// Runs until it is dropped.
pub(crate) async fn run(keeper: Keeper) {
    tokio::join!(keeper.watch(), keeper.give_way());
}

impl Keeper {
    async fn watch(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blind = false;
        if let Some(complaint) = self.disk.complaint() {
            warn!("{complaint}");
        }
        loop {
            ticks.tick().await;
            let disk = self.disk.clone();
            // A network disk can keep a caller waiting.
            match tokio::task::spawn_blocking(move || disk.look()).await {
                Ok(Ok((before, now))) => {
                    blind = false;
                    self.tell(before, now);
                }
                Ok(Err(reason)) if !blind => {
                    blind = true;
                    error!(%reason, "cannot tell how full the disk is; check the data directory");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            candidacy::stand(&self.raft, self.may_stand());
        }
    }

    fn tell(&self, before: Reading, now: Reading) {
        self.metrics.set_disk(now.free_bytes, now.room);
        if before.room == now.room {
            return;
        }
        match self.disk.complaint() {
            Some(complaint) => warn!("{complaint}"),
            None => info!(free_bytes = now.free_bytes, "the disk has room again"),
        }
    }

    fn may_stand(&self) -> bool {
        match self.disk.room() {
            Room::Enough => true,
            Room::Low => LAST_RESORT_AFTER < self.clock.silence(),
            Room::Exhausted => false,
        }
    }

    /// Finds another leader while this node leads and should not.
    async fn give_way(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tried: Option<Instant> = None;
        loop {
            ticks.tick().await;
            if self.disk.room() == Room::Enough {
                tried = None;
                continue;
            }
            if !self.raft.is_leader() || tried.is_some_and(|tried| tried.elapsed() < HANDOVER_EVERY)
            {
                continue;
            }
            tried = Some(Instant::now());
            let able = self.survey.able_to_lead().await;
            if able.is_empty() {
                warn!("no other voter can lead: commands are refused until there is room");
            } else {
                candidacy::hand_over(&self.raft, &able).await;
            }
        }
    }
}
