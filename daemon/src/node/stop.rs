//! A stop that nobody notices: leadership is handed over first, then clients are let go, then the
//! node leaves its peers. Each step has its bound, and so has the whole.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::{Node, NodeError};
use crate::raft::candidacy;

/// As in v2: what has not ended by then is cut off.
const STOP_WITHIN: Duration = Duration::from_secs(15);
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
        candidacy::hand_over(&self.raft, &candidacy::other_voters(&self.raft)).await;
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
}
