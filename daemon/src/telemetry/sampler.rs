//! States that are looked at rather than counted: roles, positions, queues, clocks.

use std::time::Duration;

use synckairos_raft_store::LogStore;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::metrics::Metrics;
use crate::{raft::clock::ClusterClock, sessions::Sessions};

const PERIOD: Duration = Duration::from_secs(10);
/// Beyond this, cluster time and this host's wall clock disagree so much that one of the hosts
/// needs its operator.
const OFFSET_WARN_MS: u64 = 1_000;
/// A warning that still holds is repeated so often.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Keeps the gauges fresh, shows the log's numbers, and warns of clocks that disagree. Runs until
/// it is dropped.
pub(crate) async fn run(metrics: Metrics, sessions: Sessions, clock: ClusterClock, log: LogStore) {
    metrics.watch_log(log);
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned: Option<Instant> = None;
    loop {
        period.tick().await;
        sample(&metrics, &sessions, &clock);
        let offset_ms = clock.offset_ms();
        if offset_ms.unsigned_abs() <= OFFSET_WARN_MS {
            warned = None;
        } else if warned.is_none_or(|at| WARN_EVERY <= at.elapsed()) {
            warned = Some(Instant::now());
            tracing::warn!(
                offset_ms,
                limit_ms = OFFSET_WARN_MS,
                "cluster time and this host's wall clock disagree; running clocks are not moved by \
                 it, but check time synchronisation on every host"
            );
        }
    }
}

/// Reads every state once, so that an answer to a scrape shows this moment.
pub(crate) fn sample(metrics: &Metrics, sessions: &Sessions, clock: &ClusterClock) {
    let status = sessions.status();
    metrics.set_raft(status.role, status.term, status.last_log, status.applied);
    metrics.set_active_sessions(sessions.session_count());
    metrics.set_commands_waiting(sessions.queued());
    metrics.set_cluster_time_offset_ms(clock.offset_ms());
    metrics.set_cluster_time_ahead_of_leader_ms(clock.ahead_of_leader_ms());
}
