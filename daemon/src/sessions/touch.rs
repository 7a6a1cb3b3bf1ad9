//! Is this node in touch with the leader? Streams ask: one that is fed by a node which hears of
//! nothing any more looks like one in which nothing happens.

use std::time::Duration;

use openraft::{async_runtime::WatchReceiver, rt::Instant as _};
use synckairos_protocol::time::Stamp;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Leader, Sessions};

/// How often a node looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Shortest silence after which a node says that it is out of touch. A lost leader is replaced in
/// one to two seconds, during which nothing happens that a client could miss: streams that were
/// cut by every election would only make it harder. Longer than that, and the others may well have
/// gone on without this node.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// Elections that a silence must outlast, where they are slower than by default.
const SILENCE_ELECTIONS: u64 = 4;

/// Looks until the node stops.
pub(super) async fn run(sessions: Sessions, since: watch::Sender<Option<Stamp>>) {
    let election_ms = sessions.shared.raft.config().election_timeout_max;
    let elections = Duration::from_millis(election_ms.saturating_mul(SILENCE_ELECTIONS));
    let silence_max = SILENCE_MIN.max(elections);
    let mut last_touch = Instant::now();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = sessions.shared.stopping.cancelled() => return,
        }
        let now = Instant::now();
        if let Some(ago) = sessions.last_word()
            && let Some(touch) = now.checked_sub(ago)
        {
            last_touch = last_touch.max(touch);
        }
        let silence = now.saturating_duration_since(last_touch);
        since.send_if_modified(|since| {
            let is_stale = silence_max < silence;
            if is_stale == since.is_some() {
                return false;
            }
            *since = is_stale.then(|| before(sessions.shared.clock.estimate(), silence));
            match since {
                Some(_) => tracing::warn!(silence_ms = silence.as_millis(), "out of touch"),
                None => tracing::info!("in touch again"),
            }
            true
        });
    }
}

impl Sessions {
    /// Since when this node has been out of touch with the leader; `None` while it is in touch.
    pub(crate) fn staleness(&self) -> watch::Receiver<Option<Stamp>> {
        self.shared.staleness.clone()
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
