//! What happens when this node comes to lead, and when it ceases to.
//!
//! A leader takes commands only when it has applied everything that was committed before its term
//! and its clock runs on from the latest time that anybody can have seen. One that had no word of
//! a majority for too long is treated as if it had just been elected.

use std::time::Duration;

use openraft::{ReadPolicy, async_runtime::WatchReceiver};
use synckairos_protocol::{
    command::Command,
    machine::{LEVEL_NEWEST, LEVEL_OLDEST},
    time::Stamp,
};
use synckairos_raft_store::LogStore;
use tokio::time::timeout;
use tracing::info;

use super::{Sessions, outages, refusal::Refusal};

/// How often a fresh leader asks again for its majority.
const CONFIRM_RETRY: Duration = Duration::from_millis(50);
/// One question to the majority is given up after this long.
const CONFIRM_MAX: Duration = Duration::from_millis(500);
/// How often a leader looks whether its majority still answers.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn run(sessions: Sessions, log: LogStore) {
    let shared = &sessions.shared;
    let mut changes = shared.raft.server_metrics();
    let mut led_term = None;
    loop {
        let (term, leads) = {
            let metrics = changes.borrow_watched();
            (metrics.vote.leader_id.term, metrics.state.is_leader())
        };
        if leads && led_term == Some(term) && !outages::is_in_touch(&sessions) {
            info!(term, "no majority answers");
            led_term = None;
        }
        if leads && led_term != Some(term) {
            shared.batcher.refuse_all(&Refusal::NoLeader);
            let confirming = shared.raft.ensure_linearizable(ReadPolicy::ReadIndex);
            if matches!(timeout(CONFIRM_MAX, confirming).await, Ok(Ok(_))) {
                let last_stamp = log.last_stamp();
                shared.clock.lead(last_stamp);
                let outage = outages::before_all(&sessions, last_stamp);
                shared.batcher.open(first_commands(&sessions).into_iter().chain(outage));
                led_term = Some(term);
                info!(term, "leading");
            }
        } else if !leads {
            // Whether or not it was in touch to the end: it counts by itself since it was confirmed.
            shared.clock.follow();
            if led_term.take().is_some() {
                shared.batcher.refuse_all(&Refusal::NoLeader);
                info!(term, "not leading any more");
            }
        }
        let recheck = if led_term == Some(term) { LOOK_EVERY } else { CONFIRM_RETRY };
        let changed = async {
            if !leads {
                return changes.changed().await.is_ok();
            }
            // Whether or not anything has changed, the leader looks again.
            timeout(recheck, changes.changed()).await.map_or(true, |changed| changed.is_ok())
        };
        tokio::select! {
            open = changed => if !open { return },
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// What a leader proposes before anybody else may.
fn first_commands(sessions: &Sessions) -> Vec<Command> {
    let shared = &sessions.shared;
    // A new cluster has nothing to upgrade, unless it was founded by nodes of different versions.
    let is_new = shared.applied.now() == Stamp::ZERO;
    let voters = shared.raft.voter_ids();
    let known = voters.filter_map(|node| shared.peers.protocol_of(node));
    let understood = known.min().map_or(LEVEL_NEWEST, |protocol| protocol.min(LEVEL_NEWEST));
    if is_new && LEVEL_OLDEST < understood {
        vec![Command::SetLevel { level: understood }]
    } else {
        Vec::new()
    }
}
