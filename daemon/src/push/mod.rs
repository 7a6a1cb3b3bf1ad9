//! Updates to whoever watches a session: a hub that hands out what was committed, the history for
//! those who were away, and the conversation on each WebSocket and each event stream.
//!
//! Nothing here proposes or decides; the hub sees changes in commit order and nothing else.

pub(crate) mod events;
mod hub;
mod messages;
pub(crate) mod socket;
mod source;
mod told;

pub(crate) use hub::Hub;
pub(crate) use source::{Replays, Source};
pub(crate) use told::{Past, Point};

use std::future::pending;

use synckairos_protocol::time::Stamp;
use tokio::sync::watch;

/// Since when this node has lost touch with the leader; `None` while it has not.
pub(crate) type Staleness = watch::Receiver<Option<Stamp>>;

/// Waits until the node has lost touch with the leader, and tells since when.
async fn lost_touch(staleness: &mut Staleness) -> Stamp {
    if let Ok(since) = staleness.wait_for(Option::is_some).await
        && let Some(since) = *since
    {
        return since;
    }
    // Nobody looks any more: the node is stopping, and says so itself.
    pending().await
}
