//! Who leads, as far as this node has a say in it: giving the leadership away, and not standing for
//! it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::async_runtime::WatchReceiver;
use synckairos_raft_store::raft_types::LogId;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::{Raft, messages::VoteResponse};

/// For another voter to take over.
const HANDOVER_WITHIN: Duration = Duration::from_secs(3);
/// A transfer that was not taken up is offered again, to the next voter.
const HANDOVER_RETRY: Duration = Duration::from_millis(750);

/// The voters besides this node.
pub(crate) fn other_voters(raft: &Raft) -> Vec<u64> {
    raft.voter_ids().filter(|voter| voter != raft.node_id()).collect()
}

/// Offers the leadership to each of `voters` in turn, until somebody has it. Does nothing where
/// this node does not lead.
///
/// From the first offer on this node takes no more commands as the leader: the engine has no way to
/// take an offer back. So it is made only to those who can be expected to accept; should nobody,
/// the others notice that the leader is silent and elect one.
pub(crate) async fn hand_over(raft: &Raft, voters: &[u64]) {
    let mut metrics = raft.metrics();
    let deadline = Instant::now() + HANDOVER_WITHIN;
    for voter in voters.iter().cycle() {
        let offered = Instant::now();
        if deadline <= offered || !raft.is_leader() {
            return;
        }
        if let Err(error) = raft.trigger().transfer_leader(*voter).await {
            warn!(%error, "leadership is not handed over");
            return;
        }
        let retry_at = (offered + HANDOVER_RETRY).min(deadline);
        let taken = async {
            while raft.is_leader() {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout_at(retry_at, taken).await.is_ok() {
            info!(to = voter, "leadership handed over");
            return;
        }
        sleep_until(retry_at).await;
    }
}

/// Who leads instead of this node, once somebody does; `None` where nobody does within a while.
pub(crate) async fn successor(raft: &Raft) -> Option<u64> {
    let deadline = Instant::now() + HANDOVER_WITHIN;
    let mut metrics = raft.server_metrics();
    loop {
        let leader = metrics.borrow_watched().current_leader;
        if let Some(leader) = leader.filter(|leader| leader != raft.node_id()) {
            return Some(leader);
        }
        if !matches!(timeout_at(deadline, metrics.changed()).await, Ok(Ok(()))) {
            return None;
        }
    }
}

/// Whether this node campaigns when it hears no leader. It votes for others in any case.
pub(crate) fn stand(raft: &Raft, stands: bool) {
    raft.runtime_config().elect(stands);
}

/// When a candidate last asked whose log ends before this node's: it cannot be elected where this
/// node's vote is needed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outrun(Arc<Mutex<Option<Instant>>>);

impl Outrun {
    /// Takes note of what was answered to a candidate whose log ends with `last`.
    pub(super) fn note(&self, last: Option<LogId>, answer: &VoteResponse) {
        if !answer.vote_granted && last < answer.last_log_id {
            *self.lock() = Some(Instant::now());
        }
    }

    /// How long ago that was.
    pub(crate) fn ago(&self) -> Option<Duration> {
        self.lock().map(|at| at.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
