//! Spans in which nobody could act, found by whoever leads after them: what runs in sessions that
//! freeze is not charged for them.
//!
//! A span begins with the last moment at which anybody can have acted: the last time that a leader
//! told this node, the last stamp in its log, or the last answer of a majority to this node as the
//! leader, whichever is latest. It ends with the stamp of the command that tells it. Nothing is
//! extrapolated: it is the leader's silence that is not charged.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use synckairos_protocol::{
    command::Command,
    time::{Millis, Stamp},
};

use super::Sessions;

/// While clocks run that freeze, the log says at least so often that somebody could act, so that
/// the span is known when every node has died.
const BEAT_EVERY: Millis = Millis::new(1_000);

/// When a majority last answered this node as the leader, in cluster time.
#[derive(Debug, Default)]
pub(super) struct InTouch(AtomicU64);

impl InTouch {
    fn last(&self) -> Stamp {
        Stamp::from_unix_millis(self.0.load(Ordering::Acquire))
    }

    fn note(&self, at: Stamp) {
        self.0.fetch_max(at.unix_millis(), Ordering::AcqRel);
    }
}

/// What a leader of a new term has to say before it takes commands. A majority has just confirmed
/// it, and its clock runs.
pub(super) fn before_this_term(sessions: &Sessions, last_stamp: Stamp) -> Option<Command> {
    let shared = &sessions.shared;
    let now = sessions.now()?;
    let led = shared.in_touch.last();
    shared.in_touch.note(now);
    let heard = shared.clock.last_heard().unwrap_or_default();
    freezes(sessions).then(|| outage(sessions, heard.max(last_stamp).max(led)))
}

/// Looks whether a majority still answers this node, which leads, and proposes what is to be said:
/// the span of a silence that is over, and at times that there is none. False where clocks that
/// freeze should not fall due now, since nobody may be able to act.
pub(super) fn look(sessions: &Sessions, now: Stamp) -> bool {
    let shared = &sessions.shared;
    if !shared.batcher.leads() {
        return true;
    }
    let Some(silent) = sessions.quorum_heard() else { return true };
    let (before, answered) = (shared.in_touch.last(), now.before(millis(silent)));
    if !freezes(sessions) {
        shared.in_touch.note(answered);
        return true;
    }
    let fresh = silent <= Duration::from_millis(shared.raft.config().election_timeout_min);
    if !fresh {
        return false;
    }
    let said = if millis(sessions.trusted()) < answered.since(before) {
        Some(outage(sessions, before))
    } else {
        // Whether or not it is applied yet: one beat is under way at a time.
        let last_stamp = shared.batcher.last_stamp().max(shared.applied.now());
        (BEAT_EVERY <= now.since(last_stamp)).then_some(Command::Beat)
    };
    // Refused where this node does not lead any more: its successor looks for itself.
    if said.is_none_or(|command| shared.batcher.tell(command).is_ok()) {
        shared.in_touch.note(answered);
    }
    true
}

fn outage(sessions: &Sessions, from: Stamp) -> Command {
    sessions.shared.metrics.outage();
    tracing::info!(from_ms = from.unix_millis(), "clocks that freeze are credited from then on");
    Command::Outage { from }
}

/// Is there anything that a span would be credited to?
fn freezes(sessions: &Sessions) -> bool {
    sessions.shared.applied.read(|machine| {
        machine.frozen_running() && Command::Outage { from: Stamp::ZERO }.level() <= machine.level()
    })
}

fn millis(span: Duration) -> Millis {
    Millis::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
