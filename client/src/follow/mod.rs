//! A session followed live, from node to node where one fails: every version once, in order, and
//! where one is missing, word of it.

mod socket;
mod tracker;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use synckairos_protocol::{
    ids::{ParticipantId, SessionId},
    time::{Millis, Stamp},
    wire::{rest::SessionState, ws::CauseForm},
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::client::Client;

/// Events that wait for a slow reader. Then the socket waits, the node lets go of it, and the
/// reader is told of the gap.
const QUEUE_MAX: usize = 64;

/// What a follower is told.
#[derive(Clone, Debug, PartialEq)]
pub enum FollowEvent {
    /// Updates come live from this node until [`FollowEvent::Disconnected`].
    Connected { node: String },
    /// Nothing comes until [`FollowEvent::Connected`]; another node is tried by itself.
    Disconnected { node: String, reason: String },
    /// There is no such session yet. Its creation will be told.
    Absent,
    /// The session is at a version that was not told before.
    Updated(Update),
    /// The versions after `after` and before `next` were missed; `next` is told now.
    Gap { after: u64, next: u64 },
    /// The running clock had exactly `threshold` left at `at`.
    Warning {
        participant: ParticipantId,
        threshold: Millis,
        at: Stamp,
        version: u64,
        revision: u64,
    },
    /// The session is gone, which ends the stream. Revision and cause are unknown where it went
    /// while there was no connection.
    Deleted { revision: Option<u64>, cause: Option<CauseForm> },
}

/// A session at a version.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub state: Box<SessionState>,
    pub version: u64,
    /// Position in the log; `None` where the node does not know it any more.
    pub revision: Option<u64>,
    /// What happened; `None` where the state was asked for and not pushed.
    pub cause: Option<CauseForm>,
    /// Cluster time at the node when it sent this.
    pub server_time: Stamp,
}

/// The events of one session: a [`Stream`] that ends with [`FollowEvent::Deleted`]. Dropping it
/// closes the socket.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<FollowEvent>,
    task: JoinHandle<()>,
}

impl Client {
    /// Follows a session, one that does not exist yet included. Its present state comes first.
    ///
    /// What happens while there is no connection is told after it, version for version, by
    /// whichever node answers next. Where that node does not keep it any more, the follower gets
    /// the state, and [`FollowEvent::Gap`] says that there was more.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// ```no_run
    /// # use synckairos_client::{client::Client, follow::FollowEvent};
    /// # use synckairos_protocol::ids::SessionId;
    /// # async fn example(client: Client, game: SessionId) {
    /// let mut subscription = client.follow(game);
    /// while let Some(event) = subscription.next().await {
    ///     if let FollowEvent::Updated(update) = event {
    ///         let active = update.state.active_participant_id;
    ///     }
    /// }
    /// # }
    /// ```
    pub fn follow(&self, session: SessionId) -> Subscription {
        let (sender, events) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(socket::follow(Arc::clone(self.inner()), session, sender));
        Subscription { events, task }
    }
}

impl Subscription {
    /// The next event; `None` after [`FollowEvent::Deleted`].
    pub async fn next(&mut self) -> Option<FollowEvent> {
        self.events.recv().await
    }
}

impl Stream for Subscription {
    type Item = FollowEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<FollowEvent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
