//! Is this node in touch with the leader? Streams ask: one that is fed by a node which hears of
//! nothing any more looks like one in which nothing happens.
//!
//! The node looks at times, for the streams that it has, and whenever a new one asks: a client that
//! was just answered by this node must not be told that it is out of touch.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use openraft::{async_runtime::WatchReceiver, rt::Instant as _};
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use synckairos_protocol::time::Stamp;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Leader, Sessions};
use crate::raft::Raft;

/// How often a node looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Shortest silence after which a node says that it is out of touch. A lost leader is replaced in
/// one to two seconds, during which nothing happens that a client could miss: streams that were
/// cut by every election would only make it harder. Longer than that, and the others may well have
/// gone on without this node.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// Elections that a silence must outlast, where they are slower than by default.
const SILENCE_ELECTIONS: u64 = 4;

/// What was seen at the last look.
pub(super) struct Touch {
    silence_max: Duration,
    /// When this node had the last word of its leader, or as the leader that of a majority.
    last_word: Mutex<Instant>,
    /// Since when it has been out of touch; `None` while it is not.
    since: watch::Sender<Option<Stamp>>,
}

impl Touch {
    /// In touch, as of now.
    pub(super) fn new(raft: &Raft) -> Self {
        let elections = raft.config().election_timeout_max.saturating_mul(SILENCE_ELECTIONS);
        Self::after(SILENCE_MIN.max(Duration::from_millis(elections)), Instant::now())
    }

    fn after(silence_max: Duration, now: Instant) -> Self {
        Self { silence_max, last_word: Mutex::new(now), since: watch::Sender::new(None) }
    }

    /// Concludes from a look: what time it is, and how long ago the last word was, where there was
    /// one.
    fn take(
        &self,
        look: impl FnOnce() -> (Instant, Option<Duration>),
        estimate: impl FnOnce() -> Stamp,
    ) {
        // Held from the look to the end: of two looks the later one must have the last say.
        let mut last_word = self.last_word.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, ago) = look();
        let word = ago.and_then(|ago| now.checked_sub(ago));
        *last_word = word.map_or(*last_word, |word| word.max(*last_word));
        let silence = now.saturating_duration_since(*last_word);
        self.since.send_if_modified(|since| {
            let is_stale = self.silence_max < silence;
            #[cfg(feature = "planted-bugs")]
            let is_stale = is_stale && !Plant::StalePretendsLive.is_on();
            if is_stale == since.is_some() {
                return false;
            }
            *since = is_stale.then(|| before(estimate(), silence));
            match since {
                Some(_) => tracing::warn!(silence_ms = silence.as_millis(), "out of touch"),
                None => tracing::info!("in touch again"),
            }
            true
        });
    }
}

/// Looks until the node stops.
pub(super) async fn run(sessions: Sessions) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => sessions.look(),
            () = sessions.shared.stopping.cancelled() => return,
        }
    }
}

impl Sessions {
    /// Since when this node has been out of touch with the leader, from a look at this moment on;
    /// `None` while it is in touch.
    pub(crate) fn staleness(&self) -> watch::Receiver<Option<Stamp>> {
        self.look();
        self.shared.touch.since.subscribe()
    }

    fn look(&self) {
        let look = || (Instant::now(), self.last_word());
        self.shared.touch.take(look, || self.shared.clock.estimate());
    }

    /// How long ago this node had the word of its leader, or as the leader that of a majority.
    /// `None` where it has no leader, or none that has spoken.
    fn last_word(&self) -> Option<Duration> {
        match self.leader() {
            Leader::This => {
                let metrics = self.shared.raft.metrics();
                let metrics = metrics.borrow_watched();
                let alone = metrics.membership_config.membership().voter_ids().count() == 1;
                let acked = metrics.last_quorum_acked.map(|acked| acked.elapsed());
                // A node alone is its own majority, and openraft does not say so again and again.
                if alone { Some(Duration::ZERO) } else { acked }
            }
            Leader::Other(..) => Some(self.shared.clock.silence()),
            Leader::Unknown => None,
        }
    }
}

fn before(now: Stamp, ago: Duration) -> Stamp {
    let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Stamp::from_unix_millis(now.unix_millis().saturating_sub(ago_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_told_once_and_ends_with_the_next_word() {
        let (started, silence_max) = (Instant::now(), Duration::from_secs(3));
        let touch = Touch::after(silence_max, started);
        let mut since = touch.since.subscribe();
        // At which second a look finds a word so many seconds old, and since when it is stale then.
        let table = [
            (1, Some(0), None, false),
            (2, None, None, false),
            (4, None, None, false),
            (5, None, Some(1_001), true),
            // An older word than the last one is no news.
            (6, Some(5), Some(1_001), false),
            (7, Some(4), Some(1_001), false),
            (8, Some(2), None, true),
            (9, Some(3), None, false),
        ];
        for (second, ago, expected, told) in table {
            let look = || (started + Duration::from_secs(second), ago.map(Duration::from_secs));
            touch.take(look, || Stamp::from_unix_millis(1 + second * 1_000));
            assert_eq!(since.has_changed().unwrap(), told, "at second {second}");
            let seen = since.borrow_and_update().map(Stamp::unix_millis);
            assert_eq!(seen, expected, "at second {second}");
        }
    }
}
