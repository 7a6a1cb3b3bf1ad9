//! All peers of this node, as those see them who ask something of one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use synckairos_raft_store::raft_types::PeerNode;
use tokio::time::Instant;

use super::{
    acknowledged::Acknowledged,
    clock::ClusterClock,
    endpoint::{Close, PeerEndpoint},
    link::Link,
    messages::{AppReply, AppRequest, StandingV1},
};
use crate::members::removal::Removed;

/// A call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// It certainly had no effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The peer may have acted on it, or still will.
    #[error("sent, but no reply: {0}")]
    Unknown(String),
}

/// Nobody knows whether a peer takes part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoStanding {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}")]
    Refused(String),
    #[error("it answered another question")]
    BesideThePoint,
}

/// Cheap to clone; all clones share one connection to each peer.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    endpoint: PeerEndpoint,
    clock: ClusterClock,
    /// One for each node that was ever asked for and not forgotten since.
    links: Mutex<HashMap<u64, Arc<Link>>>,
    /// The version of the peer protocol that each node spoke last.
    protocols: Arc<Mutex<HashMap<u64, u16>>>,
    /// Has a peer said that this node was removed?
    removed: Removed,
    /// What they acknowledged to this node while it leads.
    acknowledged: Acknowledged,
}

impl Peers {
    pub(crate) fn new(endpoint: PeerEndpoint, clock: ClusterClock) -> Self {
        let (links, protocols) = (Mutex::default(), Arc::default());
        let removed = Removed::new();
        let acknowledged = Acknowledged::default();
        Self(Arc::new(Inner { endpoint, clock, links, protocols, removed, acknowledged }))
    }

    /// Asks `node`, which is at `place`, and waits for its reply at most `deadline`.
    ///
    /// # Errors
    /// [`CallError`] tells whether the request may have had an effect.
    pub(crate) async fn call(
        &self,
        node: u64,
        place: &PeerNode,
        request: AppRequest,
        deadline: Duration,
    ) -> Result<AppReply, CallError> {
        let deadline = Instant::now() + deadline;
        self.link(node, place).call(request, deadline).await
    }

    /// Asks `node` whether it takes part in the cluster.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn standing(
        &self,
        node: u64,
        place: &PeerNode,
        deadline: Duration,
    ) -> Result<StandingV1, NoStanding> {
        let reply = self.call(node, place, AppRequest::Standing, deadline).await?;
        if let AppReply::LetIn(Err(reason)) = reply {
            return Err(NoStanding::Refused(reason));
        }
        let AppReply::Standing(standing) = reply else { return Err(NoStanding::BesideThePoint) };
        Ok(standing)
    }

    /// Tells `node` that it may take part.
    ///
    /// # Errors
    /// Why that is not certain: it can be told again.
    pub(crate) async fn let_in(
        &self,
        node: u64,
        place: &PeerNode,
        (incarnation, deadline): (u64, Duration),
    ) -> Result<(), NoStanding> {
        let reply = self.call(node, place, AppRequest::LetIn { incarnation }, deadline).await?;
        let AppReply::LetIn(let_in) = reply else { return Err(NoStanding::BesideThePoint) };
        let_in.map_err(NoStanding::Refused)
    }

    /// Tells `node`, which lacks what it had acknowledged, that it must not go on.
    pub(crate) async fn send_away(
        &self,
        node: u64,
        place: &PeerNode,
        (reason, deadline): (&str, Duration),
    ) {
        // One that cannot be reached is told when it can.
        if let Ok(connection) = self.link(node, place).connected(Instant::now() + deadline).await {
            connection.close(Close::LogLost, reason);
        }
    }

    /// The way to `node`, which is at `place`; one to another place is given up.
    pub(crate) fn link(&self, node: u64, place: &PeerNode) -> Arc<Link> {
        let mut links = self.links();
        if let Some(link) = links.get(&node)
            && link.address() == place.peer
            && !link.is_closed()
        {
            return link.clone();
        }
        let protocols = self.0.protocols.clone();
        let met = move |node, protocol| note(&protocols, node, protocol);
        let (endpoint, removed) = (self.0.endpoint.clone(), self.0.removed.clone());
        let link = Link::new(endpoint, node, place.peer.clone(), met, removed);
        let old = links.insert(node, link.clone());
        drop(links);
        if let Some(old) = old {
            old.close(Close::Forgotten, "the peer is reached elsewhere");
        }
        link
    }

    /// The newest version of the peer protocol that `node` is known to speak; `None` before the
    /// first meeting.
    pub(crate) fn protocol_of(&self, node: u64) -> Option<u16> {
        lock(&self.0.protocols).get(&node).copied()
    }

    /// `node` showed that it lives, by dialling this one, and which versions it speaks.
    pub(crate) fn revive(&self, node: u64, newest: u16) {
        note(&self.0.protocols, node, newest);
        if let Some(link) = self.links().get(&node) {
            link.revive();
        }
    }

    /// Closes the connections to the nodes that are `gone` for good.
    pub(crate) fn forget(&self, gone: impl Fn(u64) -> bool) {
        self.links().retain(|node, link| {
            let stays = !gone(*node);
            if !stays {
                link.close(Close::Removed, "the node was removed from the cluster");
            }
            stays
        });
    }

    /// Has this node been removed from the cluster?
    pub(crate) fn removed(&self) -> &Removed {
        &self.0.removed
    }

    /// Closes the connections to all peers. Calls that wait end with an error.
    pub(crate) fn close(&self) {
        for (_, link) in self.links().drain() {
            link.close(Close::Stopping, "the node is stopping");
        }
    }

    pub(super) fn acknowledged(&self) -> &Acknowledged {
        &self.0.acknowledged
    }

    pub(crate) fn clock(&self) -> &ClusterClock {
        &self.0.clock
    }

    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        lock(&self.0.links)
    }
}

fn note(protocols: &Mutex<HashMap<u64, u16>>, node: u64, protocol: u16) {
    lock(protocols).insert(node, protocol);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
