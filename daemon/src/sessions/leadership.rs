//! What happens when this node comes to lead, and when it ceases to.
//!
//! A leader takes commands only when it has applied everything that was committed before its term
//! and its clock runs on from the latest time that anybody can have seen. The first of them says
//! how long nobody could act.

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

pub(super) async fn run(sessions: Sessions, log: LogStore) {
    let shared = &sessions.shared;
    let mut changes = shared.raft.server_metrics();
    let mut led_term = None;
    loop {
        let (term, leads) = {
            let metrics = changes.borrow_watched();
            (metrics.vote.leader_id.term, metrics.state.is_leader())
        };
        if leads && led_term != Some(term) {
            shared.batcher.refuse_all(&Refusal::NoLeader);
            let confirmed = shared.raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_ok();
            if confirmed {
                let last_stamp = log.last_stamp();
                shared.clock.lead(last_stamp);
                let first = first_commands(&sessions);
                let outage = outages::before_this_term(&sessions, last_stamp);
                shared.batcher.open(first.into_iter().chain(outage));
                led_term = Some(term);
                info!(term, "leading");
            }
        } else if !leads && led_term.take().is_some() {
            shared.clock.follow();
            shared.batcher.refuse_all(&Refusal::NoLeader);
            info!(term, "not leading any more");
        }
        let unconfirmed = leads && led_term != Some(term);
        let changed = async {
            if unconfirmed {
                let _ = timeout(CONFIRM_RETRY, changes.changed()).await;
                true
            } else {
                changes.changed().await.is_ok()
            }
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
