//! Whether this node takes part in its cluster.
//!
//! One that starts without data may be new, or may have lost what it had promised. It takes no log
//! entries and no snapshots, answers no candidate and asks for no votes, until the founder (before
//! there is a cluster) or the leader (who knows whether it has a vote) lets it in.

use std::io;

use openraft::async_runtime::WatchReceiver;
use synckairos_raft_store::Admission;
use tokio::task::spawn_blocking;

use super::{Raft, messages::StandingV1};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    admission: Admission,
    /// Tells this process from earlier ones of this node.
    incarnation: u64,
}

/// This node waits to be let in.
#[derive(Debug, thiserror::Error)]
#[error("it has no data, and nobody let it in yet")]
pub(crate) struct NotAdmitted;

/// This node was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLetIn {
    #[error("it has started again since it was asked")]
    OtherIncarnation,
    #[error("it cannot keep that: {0}")]
    Disk(#[from] io::Error),
}

impl Standing {
    pub(crate) fn new(admission: Admission) -> Self {
        let (incarnation, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self { admission, incarnation }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.admission.is_admitted()
    }

    /// # Errors
    /// [`NotAdmitted`].
    pub(crate) fn require_admitted(&self) -> Result<(), NotAdmitted> {
        if self.is_admitted() { Ok(()) } else { Err(NotAdmitted) }
    }

    /// What this node says of itself.
    pub(crate) fn tell(&self, raft: &Raft) -> StandingV1 {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        // An engine that is just starting says nothing yet of what it has.
        let begun = metrics.last_log_index.is_some() || 0 < metrics.current_term;
        let blank = !self.admission.had_data() && !begun;
        StandingV1 { incarnation: self.incarnation, blank, admitted: self.is_admitted() }
    }

    /// Takes part from now on, for good.
    ///
    /// # Errors
    /// [`NotLetIn`].
    pub(crate) async fn let_in(&self, incarnation: u64) -> Result<(), NotLetIn> {
        if incarnation != self.incarnation {
            return Err(NotLetIn::OtherIncarnation);
        }
        self.admit().await
    }

    /// As [`Standing::let_in`], where this node itself decides.
    ///
    /// # Errors
    /// [`NotLetIn::Disk`].
    pub(crate) async fn admit(&self) -> Result<(), NotLetIn> {
        let admission = self.admission.clone();
        let written = spawn_blocking(move || admission.admit()).await;
        Ok(written.unwrap_or_else(|panic| Err(io::Error::other(panic)))?)
    }
}
