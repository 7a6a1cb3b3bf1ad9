//! Where a client's stream of a session begins, wherever it was before: what it missed comes from
//! this node's history, and what happens from then on from the hub.
//!
//! First a majority confirms how far this node must be, so that one that lags never passes an old
//! state for the latest. Then the hub is asked for live pushes, and only then the history is read:
//! what happens in between comes twice and is told once.

use std::{pin::Pin, sync::Arc};

use synckairos_protocol::{ids::SessionId, session::Session};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    hub::{Hub, Now},
    told::{Past, Point},
};
use crate::sessions::refusal::Refusal;

/// Streams that are told their past at the same time. It is read, encoded for one client and held
/// until it is written; everybody else waits, so that a thousand clients that come back at once
/// take their turns and not the node's memory.
const REPLAYS_MAX: usize = 32;

type Reading = Pin<Box<dyn Future<Output = Result<Option<Arc<Session>>, Refusal>> + Send>>;
type Looking = Pin<Box<dyn Future<Output = Past> + Send>>;

/// What streams may use. It reads sessions through functions, since it knows nothing of how the
/// cluster agrees on them.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) hub: Hub,
    /// The session as of some moment between call and return.
    pub(crate) read: Arc<dyn Fn(SessionId) -> Reading + Send + Sync>,
    /// What this node has applied: everything after a point where one is given, and the state.
    pub(crate) past: Arc<dyn Fn(SessionId, Option<Point>) -> Looking + Send + Sync>,
    pub(crate) clock: Now,
    pub(crate) replays: Replays,
}

/// Room for those who are told their past.
#[derive(Clone)]
pub(crate) struct Replays {
    places: Arc<Semaphore>,
}

/// Held while somebody is told the past.
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Replays {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(REPLAYS_MAX)) }
    }
}

impl Source {
    /// Waits until what this node has applied is the latest as of the call, and until there is
    /// room for one more that is told the past.
    ///
    /// # Errors
    /// [`Refusal`] where no majority confirms it in time.
    pub(super) async fn settle(&self, session: SessionId) -> Result<Place, Refusal> {
        let _ = (self.read)(session).await?;
        // The semaphore is never closed.
        let permit = Arc::clone(&self.replays.places).acquire_owned().await.ok();
        Ok(Place { _permit: permit })
    }
}
