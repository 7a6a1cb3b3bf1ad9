//! A stop that nobody notices: leadership is handed over first, then clients are let go, then the
//! node leaves its peers. Each step has its bound, and so has the whole.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::{Node, NodeError};

/// As in v2: what has not ended by then is cut off.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// For another voter to take over.
const HANDOVER_WITHIN: Duration = Duration::from_secs(3);
/// A transfer that was not taken up is offered again, to the next voter.
const HANDOVER_RETRY: Duration = Duration::from_millis(750);
/// For commands under way to reach a majority.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// For peers to read what was last sent to them.
const FAREWELL: Duration = Duration::from_millis(500);

impl Node {
    pub(super) async fn stop(mut self) -> Result<(), NodeError> {
        let seconds = STOP_WITHIN.as_secs();
        let deadline = Instant::now() + STOP_WITHIN;
        let late = |_| NodeError::Stop(seconds);
        timeout_at(deadline, self.stop_in_order()).await.map_err(late)?;
        // The databases close with their last handle.
        let closed = self.closed;
        drop((self.raft, self.sessions, self.peers, self.endpoint));
        timeout_at(deadline, closed.wait()).await.map_err(late)?;
        info!("stopped");
        Ok(())
    }

    async fn stop_in_order(&mut self) {
        self.hand_over().await;
        self.stopping.cancel();
        if let Err(error) = (&mut self.http).await {
            warn!(%error, "the client port ended badly");
        }
        if timeout(ANSWER_WITHIN, self.sessions.close()).await.is_err() {
            warn!("some commands found no majority; their callers were told so");
        }
        self.ended.cancel();
        if let Err(error) = self.raft.shutdown().await {
            warn!(%error, "the Raft engine ended badly");
        }
        self.peers.close();
        self.endpoint.close(FAREWELL).await;
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Offers the leadership to each other voter in turn, until one has it.
    async fn hand_over(&self) {
        let mut metrics = self.raft.metrics();
        let deadline = Instant::now() + HANDOVER_WITHIN;
        let voters: Vec<u64> =
            self.raft.voter_ids().filter(|voter| voter != self.raft.node_id()).collect();
        for voter in voters.iter().cycle() {
            let offered = Instant::now();
            if deadline <= offered || !self.raft.is_leader() {
                return;
            }
            if let Err(error) = self.raft.trigger().transfer_leader(*voter).await {
                warn!(%error, "leadership is not handed over");
                return;
            }
            let retry_at = (offered + HANDOVER_RETRY).min(deadline);
            let taken = async {
                while self.raft.is_leader() {
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
}
