//! Looks at the disk again and again, and acts on what it sees: a node without room neither leads
//! nor stands for election, unless nobody else can.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::{Disk, Reading, Room};
use crate::{
    health::Survey,
    raft::{
        Raft,
        candidacy::{self, Outrun},
        clock::ClusterClock,
    },
    telemetry::metrics::Metrics,
};

/// A disk that fills at a gigabyte a second loses half of the default reserve meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two attempts to find another leader: each costs the cluster a moment without one.
const HANDOVER_EVERY: Duration = Duration::from_secs(5);
/// Where nobody has led for so long, a node that is low on room stands all the same, so that the
/// sessions can be read.
const LAST_RESORT_AFTER: Duration = Duration::from_secs(10);
/// Elections that others have time for where a candidate lacks what this node has: somebody else
/// may have it too. If nobody has, only this node can bring it to them.
const ELECTIONS_OF_OTHERS: u64 = 2;

/// What the keeper needs.
pub(crate) struct Keeper {
    pub(crate) disk: Disk,
    pub(crate) raft: Raft,
    pub(crate) clock: ClusterClock,
    pub(crate) outrun: Outrun,
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
        let (mut blind, mut stood, mut led) = (false, true, None);
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
            if self.raft.is_leader() {
                led = Some(Instant::now());
            }
            stood = self.stand(led, stood);
        }
    }

    /// Campaigns or leaves that to others, having led last at `led`; which of the two.
    fn stand(&self, led: Option<Instant>, stood: bool) -> bool {
        let silence = self.clock.silence();
        // While it led it heard from no other leader.
        let leaderless = led.map_or(silence, |led| silence.min(led.elapsed()));
        let others = self.raft.config().election_timeout_max.saturating_mul(ELECTIONS_OF_OTHERS);
        let (patience, reason) =
            patience(leaderless, self.outrun.ago(), Duration::from_millis(others));
        let stands = match self.disk.room() {
            Room::Enough => true,
            Room::Low => patience < leaderless,
            Room::Exhausted => false,
        };
        if stands && !stood && self.disk.room() == Room::Low {
            let leaderless_ms = leaderless.as_millis();
            warn!(leaderless_ms, reason, "standing for election with little room");
        }
        candidacy::stand(&self.raft, stands);
        stands
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

    /// Finds another leader while this node leads and should not.
    async fn give_way(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tried: Option<Instant> = None;
        loop {
            ticks.tick().await;
            if self.disk.room() == Room::Enough || !self.raft.is_leader() {
                tried = None;
                continue;
            }
            if tried.is_some_and(|tried| tried.elapsed() < HANDOVER_EVERY) {
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

/// How long a node that is low on room leaves it to others to stand, and why it then stands all the
/// same, where nobody has led for `leaderless` and a candidate lacked `outrun` ago what it has.
fn patience(
    leaderless: Duration,
    outrun: Option<Duration>,
    others: Duration,
) -> (Duration, &'static str) {
    // What was lacking while somebody led may have been brought since.
    if outrun.is_some_and(|ago| ago <= leaderless) && others < LAST_RESORT_AFTER {
        (others, "a candidate lacks entries that this node has")
    } else {
        (LAST_RESORT_AFTER, "nobody has led for long")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_ten_seconds_or_where_they_lack_entries_two_elections() {
        let ms = Duration::from_millis;
        let table = [
            (500, None, 1_200, 10_000),
            (60_000, None, 1_200, 10_000),
            (500, Some(501), 1_200, 10_000),
            (500, Some(500), 1_200, 1_200),
            (60_000, Some(100), 1_200, 1_200),
            (60_000, Some(100), 60_000, 10_000),
        ];
        for (leaderless, outrun, others, expected) in table {
            let (found, _) = patience(ms(leaderless), outrun.map(ms), ms(others));
            assert_eq!(found, ms(expected), "{leaderless} ms leaderless, outrun {outrun:?}");
        }
    }
}
