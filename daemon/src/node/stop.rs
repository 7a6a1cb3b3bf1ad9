//! A stop that nobody notices: leadership is handed over first, then clients are let go, then the
//! node leaves its peers. Each step has its bound, and so has the whole.

use std::time::Duration;

use synckairos_raft_store::Closed;
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
/// For a node that failed to let go of its data.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

impl Node {
    pub(super) async fn stop(mut self, store: Option<Closed>) -> Result<(), NodeError> {
        let seconds = STOP_WITHIN.as_secs();
        let deadline = Instant::now() + STOP_WITHIN;
        let late = |_| NodeError::Stop(seconds);
        timeout_at(deadline, self.stop_in_order()).await.map_err(late)?;
        // The databases close with their last handle.
        drop((self.raft, self.sessions, self.peers, self.endpoint));
        if let Some(store) = store {
            timeout_at(deadline, store.wait()).await.map_err(late)?;
        }
        info!("stopped");
        Ok(())
    }

    /// Ends without a word to anybody: what it would say may not be true.
    pub(super) async fn abandon(mut self, store: Option<Closed>) {
        self.http.abort();
        self.peer_port.abort();
        self.stopping.cancel();
        self.ended.cancel();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        if timeout(CLOSED_WITHIN, self.raft.shutdown()).await.is_err() {
            warn!("the Raft engine did not end in time");
        }
        drop(self);
        await_closed(store).await;
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
        if let Err(error) = (&mut self.peer_port).await {
            warn!(%error, "the peer port ended badly");
        }
        // Whoever still asks the engine goes before it, and is told nothing of an engine that
        // broke a promise.
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        if let Err(error) = self.raft.shutdown().await {
            warn!(%error, "the Raft engine ended badly");
        }
        self.peers.close();
        self.endpoint.close(FAREWELL).await;
    }
}

/// Waits until the databases are closed. A process that ends while their threads run is aborted by
/// them, and its exit code says nothing then. A disk that hangs may keep them for good.
pub(super) async fn await_closed(store: Option<Closed>) {
    if let Some(store) = store
        && timeout(CLOSED_WITHIN, store.wait()).await.is_err()
    {
        warn!("the databases did not close in time");
    }
}
