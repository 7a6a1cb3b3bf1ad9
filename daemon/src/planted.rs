//! What planted bugs do here that takes more than a line; see `synckairos_protocol::plant`.

use std::sync::{Arc, LazyLock};

use synckairos_protocol::{
    command::Intent,
    event::Answer,
    limits,
    plant::Plant,
    session::Session,
    time::{Millis, Stamp},
};
use synckairos_raft_store::StoredUpdate;
use tokio::time::Instant;
use uuid::Uuid;

use crate::sessions::refusal::Refusal;

/// How early clocks run out.
const EARLY: Millis = Millis::new(40);
/// An alarm that is so late is not rung any more.
const TOO_LATE: Millis = Millis::new(250);

/// The request under a key that no other process finds again.
pub(crate) fn known_here_only(mut intent: Intent) -> Intent {
    static THIS_PROCESS: LazyLock<Uuid> = LazyLock::new(Uuid::new_v4);
    if let Intent::Once { key, .. } = &mut intent
        && Plant::RetryAppliedTwice.is_on()
    {
        key.key.insert_str(0, &THIS_PROCESS.simple().to_string());
        key.key.truncate(limits::REQUEST_KEY_BYTES_MAX);
    }
    intent
}

/// What is made of a result when the leader was lost before it answered.
pub(crate) fn of_lost_leader(
    result: Result<Answer, Refusal>,
    deadline: Instant,
) -> Result<Answer, Refusal> {
    let lost = match &result {
        Err(Refusal::LeadershipLost) => true,
        Err(Refusal::TimedOut) => Instant::now() < deadline,
        Ok(_) | Err(_) => false,
    };
    assert!(!(lost && Plant::PanicAtLostLeader.is_on()), "a leader always answers");
    if lost && Plant::UnknownSentAgain.is_on() { Err(Refusal::NoLeader) } else { result }
}

/// The time by which alarms ring at `now`; `None` where they do not ring any more.
pub(crate) fn alarm_at(now: Stamp, next: Option<Stamp>) -> Option<Stamp> {
    let missed = next.is_some_and(|due| TOO_LATE < now.since(due));
    if missed && Plant::MissedAlarm.is_on() {
        return None;
    }
    Some(if Plant::EarlyExpiry.is_on() { now.after(EARLY) } else { now })
}

/// What a client is told of the updates that it missed.
pub(crate) fn replayed(
    updates: &[StoredUpdate],
    latest: Option<&Arc<Session>>,
) -> Vec<StoredUpdate> {
    let mut updates = updates.to_vec();
    if Plant::ResumeDropsUpdate.is_on() {
        updates.pop();
    }
    if let Some(last) = updates.last().filter(|_| Plant::ResumeRepeatsUpdate.is_on()) {
        updates.push(last.clone());
    }
    if let Some(latest) = latest.filter(|_| Plant::ResumeTellsLatestState.is_on()) {
        for update in &mut updates {
            let version = update.session.version;
            update.session = Arc::new(Session { version, ..Session::clone(latest) });
        }
    }
    updates
}
