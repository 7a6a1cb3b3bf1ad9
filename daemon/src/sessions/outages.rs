//! Spans in which nobody could act, found by whoever leads after them: what runs in sessions that
//! freeze is not charged for them.
//!
//! A span begins with the last moment at which anybody can have acted, and ends with the stamp of
//! the command that tells it. While clocks run that freeze, the log says at least once a second
//! that somebody could act. So the span begins at the last stamp in the log, or up to a moment
//! later: when a leader last spoke to this node, or a majority last answered it as the leader.
//! What was heard long after the last stamp is no evidence: a leader without a majority speaks too.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use synckairos_protocol::{
    command::Command,
    time::{Millis, Stamp},
};

use super::Sessions;

/// How long the log may be quiet while clocks run that freeze.
const BEAT_EVERY: Millis = Millis::new(1_000);
/// How far from the last stamp in the log a leader that could act can have been heard: a beat, and
/// the time that it takes to commit the next one.
const HEARD_AFTER_MAX: Millis = Millis::new(2_000);

/// When a majority last answered this node as the leader, in cluster time.
#[derive(Debug)]
pub(super) struct InTouch {
    last_ms: AtomicU64,
    /// A longer silence is one in which another node may have come to lead.
    silence_max: Millis,
}

impl InTouch {
    pub(super) fn new(silence_max: Duration) -> Self {
        Self { last_ms: AtomicU64::new(0), silence_max: millis(silence_max) }
    }

    /// Is it so long ago at `now` that nothing may be stamped?
    pub(super) fn is_lost(&self, now: Stamp) -> bool {
        self.silence_max < now.since(self.last())
    }

    fn last(&self) -> Stamp {
        Stamp::from_unix_millis(self.last_ms.load(Ordering::Acquire))
    }

    fn note(&self, at: Stamp) {
        self.last_ms.fetch_max(at.unix_millis(), Ordering::AcqRel);
    }
}

/// Does a majority still answer this node, which leads, without a longer silence in between? Where
/// it does not, the node must be confirmed before it stamps anything, as after an election.
pub(super) fn is_in_touch(sessions: &Sessions) -> bool {
    let touch = &sessions.shared.in_touch;
    let Some(now) = sessions.now() else { return true };
    // Nobody has answered yet what was sent after the election; that itself was an answer.
    let answered = sessions.quorum_heard().map(|silent| now.before(millis(silent)));
    if touch.is_lost(now) || answered.is_some_and(|answered| touch.is_lost(answered)) {
        return false;
    }
    answered.into_iter().for_each(|answered| touch.note(answered));
    true
}

/// What this node has to say before anybody else does, having been confirmed as the leader a
/// moment ago.
pub(super) fn before_all(sessions: &Sessions, last_stamp: Stamp) -> Option<Command> {
    let shared = &sessions.shared;
    let now = sessions.now()?;
    let led = shared.in_touch.last();
    shared.in_touch.note(now);
    if !freezes(sessions) {
        return None;
    }
    let latest = last_stamp.after(HEARD_AFTER_MAX);
    let heard = [shared.clock.last_heard().unwrap_or_default(), led];
    let heard = heard.into_iter().filter(|heard| *heard <= latest).max();
    let from = last_stamp.max(heard.unwrap_or_default());
    shared.metrics.outage();
    tracing::info!(span_ms = now.since(from).get(), "clocks that freeze are credited a span");
    Some(Command::Outage { from })
}

/// May clocks run out now, or could it be that nobody can act and some should freeze?
pub(super) fn clocks_may_run_out(sessions: &Sessions) -> bool {
    let fresh = Duration::from_millis(sessions.shared.raft.config().election_timeout_min);
    !freezes(sessions) || sessions.quorum_heard().is_none_or(|silent| silent <= fresh)
}

/// Has the log been quiet for so long that it should say that somebody can act?
pub(super) fn wants_beat(sessions: &Sessions, now: Stamp) -> bool {
    BEAT_EVERY <= now.since(sessions.shared.applied.now()) && freezes(sessions)
}

/// Is there anything that a span would be credited to?
fn freezes(sessions: &Sessions) -> bool {
    let needed = Command::Beat.level();
    sessions.shared.applied.read(|machine| machine.frozen_running() && needed <= machine.level())
}

fn millis(span: Duration) -> Millis {
    Millis::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
