//! The leader's alarm: proposes a `Tick` when the earliest deadline has passed, and a `Sweep` for
//! sessions that nobody needs any more. A late alarm delays a push, never its effect.

use std::time::Duration;

use synckairos_protocol::{command::Command, event::Answer, limits, time::Stamp};
use tokio::time::{Instant, sleep_until};

use super::{Sessions, outages};
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{disk::Room, raft::clock::until};

/// Longest time without a look at the clocks: a follower that came to lead looks within it.
const IDLE_MAX: Duration = Duration::from_millis(100);

pub(super) async fn run(sessions: Sessions) {
    let shared = &sessions.shared;
    let mut applied = shared.applied.watch_applied();
    loop {
        let wake_in = match sessions.now() {
            Some(now) => settle_due(&sessions, now).await,
            None => IDLE_MAX,
        };
        let wake_at = Instant::now() + wake_in;
        tokio::select! {
            () = sleep_until(wake_at) => {}
            changed = applied.changed() => if changed.is_err() { return },
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Proposes what is due at `now`; how long until something else can be.
async fn settle_due(sessions: &Sessions, now: Stamp) -> Duration {
    if !outages::clocks_may_run_out(sessions) {
        return IDLE_MAX;
    }
    let shared = &sessions.shared;
    if shared.disk.room() == Room::Exhausted {
        return IDLE_MAX;
    }
    #[cfg(feature = "planted-bugs")]
    let Some(now) = planted::alarm_at(now, shared.applied.next_deadline()) else {
        return IDLE_MAX;
    };
    let retention = shared.settings.retention_ms;
    let command = if shared.applied.next_deadline().is_some_and(|due| due <= now) {
        Some(Command::Tick { sessions_max: limits::TICK_SESSIONS_MAX })
    } else if shared.applied.longest_idle().is_some_and(|since| since.after(retention) < now) {
        let idle_before = now.before(retention);
        Some(Command::Sweep { idle_before, sessions_max: limits::TICK_SESSIONS_MAX })
    } else if outages::wants_beat(sessions, now) {
        Some(Command::Beat)
    } else {
        None
    };
    if let Some(command) = command {
        // Refused or lost with the leadership: whoever leads looks again.
        if let Ok(answer) = shared.batcher.push_command(command)
            && let Ok(Ok(Answer::Swept { .. })) = answer.await
        {
            return Duration::ZERO;
        }
        return IDLE_MAX;
    }
    shared.applied.next_deadline().map_or(IDLE_MAX, |due| until(due, now).min(IDLE_MAX))
}
