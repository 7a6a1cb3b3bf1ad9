//! Hands each committed change to everybody who watches its session, encoded once.
//!
//! One task owns all subscriptions. It never waits for a subscriber: whoever falls as far behind
//! as its mailbox has room is dropped and told so, and slows nobody.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use axum::extract::ws::Utf8Bytes;
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use synckairos_protocol::{event::Change, ids::SessionId, time::Stamp};
use synckairos_raft_store::AppliedEvent;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use super::messages;
use crate::telemetry::metrics::Metrics;

/// Messages that wait for a client that watches one session.
pub(crate) const QUEUE_MAX: usize = 256;
/// Messages that may wait in addition for each further session that the client watches: one log
/// entry may change them all.
const QUEUE_MORE: usize = 16;
/// Whatever a client watches. The channel takes memory as it fills.
const MAILBOX_MAX: usize = 65_536;
/// Subscriptions that wait for the hub; beyond it, new sockets wait.
const INPUTS_MAX: usize = 1_024;

/// Cluster time as the node best knows it.
pub(crate) type Now = Arc<dyn Fn() -> Stamp + Send + Sync>;

/// What a subscriber is handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// The session reached `version` by the log entry at `revision`.
    Update { version: u64, revision: u64, text: Utf8Bytes },
    /// Something happened that left the version as it was.
    Notice(Utf8Bytes),
    /// The last message: the session is gone.
    Deleted { revision: u64, text: Utf8Bytes },
    /// Changes were skipped, because this node took over a snapshot: read the session again.
    Resync,
}

/// A push on its way to one subscription.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) session: SessionId,
    pub(crate) subscription: u64,
    pub(crate) push: Push,
}

/// Everything that can wake the hub.
enum Input {
    Subscribe { session: SessionId, subscriber: Subscriber, done: oneshot::Sender<()> },
    Unsubscribe(Vec<(SessionId, u64)>),
    Applied(AppliedEvent),
}

struct Subscriber {
    number: u64,
    address: Arc<Address>,
}

/// The hub's end of a mailbox.
struct Address {
    queue: mpsc::Sender<Delivery>,
    room: AtomicUsize,
    /// Cancelled when there was no room.
    slow: CancellationToken,
}

/// Where one client's pushes wait, whichever sessions they are about.
pub(crate) struct Mailbox {
    queue: mpsc::Receiver<Delivery>,
    address: Arc<Address>,
    /// Cancelled once the client was given up for being slow.
    pub(crate) slow: CancellationToken,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        let (sender, queue) = mpsc::channel(MAILBOX_MAX);
        let slow = CancellationToken::new();
        let room = AtomicUsize::new(QUEUE_MAX);
        let address = Arc::new(Address { queue: sender, room, slow: slow.clone() });
        Self { queue, address, slow }
    }

    /// Makes room for this many sessions.
    pub(crate) fn resize(&self, sessions: usize) {
        let more = QUEUE_MORE.saturating_mul(sessions.saturating_sub(1));
        let room = QUEUE_MAX.saturating_add(more).min(MAILBOX_MAX);
        self.address.room.store(room, Ordering::Relaxed);
    }

    /// The next push; `None` once the client was given up for being slow.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            biased;
            () = self.slow.cancelled() => None,
            delivery = self.queue.recv() => delivery,
        }
    }

    /// What is waiting already.
    pub(crate) fn try_next(&mut self) -> Option<Delivery> {
        self.queue.try_recv().ok()
    }
}

impl Address {
    /// False where the client takes no more.
    fn deliver(&self, delivery: Delivery, metrics: &Metrics) -> bool {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        let sent = if waiting < self.room.load(Ordering::Relaxed) {
            self.queue.try_send(delivery)
        } else {
            Err(TrySendError::Full(delivery))
        };
        match sent {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                // One client, however many of its sessions find no room.
                if !self.slow.is_cancelled() {
                    self.slow.cancel();
                    metrics.slow_consumer();
                }
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

/// The handle of the hub.
#[derive(Clone)]
pub(crate) struct Hub {
    inputs: mpsc::Sender<Input>,
    numbers: Arc<AtomicU64>,
}

/// The node is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the push hub has stopped")]
pub(crate) struct HubStopped;

impl Hub {
    /// The handle, and the task that does the work; it ends with its source of changes, or with
    /// the last handle.
    pub(crate) fn new(
        applied: mpsc::Receiver<AppliedEvent>,
        now: Now,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let desk = Desk { subscribers: HashMap::new(), now, metrics };
        (Self { inputs, numbers: Arc::default() }, run(desk, receiver, applied))
    }

    /// Has the session's pushes put into `mailbox`, none missed from the return of this on. The
    /// number, which every push carries, must be given back with [`Hub::unsubscribe`].
    ///
    /// # Errors
    /// [`HubStopped`]
    pub(crate) async fn subscribe(
        &self,
        session: SessionId,
        mailbox: &Mailbox,
    ) -> Result<u64, HubStopped> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let subscriber = Subscriber { number, address: Arc::clone(&mailbox.address) };
        let (done, registered) = oneshot::channel();
        let input = Input::Subscribe { session, subscriber, done };
        self.inputs.send(input).await.map_err(|_| HubStopped)?;
        registered.await.map_err(|_| HubStopped)?;
        Ok(number)
    }

    /// Gives subscriptions back. What they were handed already may still be in the mailbox.
    pub(crate) async fn unsubscribe(&self, subscriptions: Vec<(SessionId, u64)>) {
        // A hub that has stopped holds no place.
        let _ = self.inputs.send(Input::Unsubscribe(subscriptions)).await;
    }

    /// Waits until nothing will be pushed any more.
    pub(crate) async fn stopped(&self) {
        self.inputs.closed().await;
    }
}

async fn run(
    mut desk: Desk,
    mut inputs: mpsc::Receiver<Input>,
    mut applied: mpsc::Receiver<AppliedEvent>,
) {
    loop {
        let input = tokio::select! {
            input = inputs.recv() => input,
            event = applied.recv() => event.map(Input::Applied),
        };
        match input {
            Some(input) => desk.handle(input),
            None => return,
        }
    }
}

/// The state of the hub.
struct Desk {
    subscribers: HashMap<SessionId, Vec<Subscriber>>,
    now: Now,
    metrics: Metrics,
}

impl Desk {
    fn handle(&mut self, input: Input) {
        match input {
            Input::Subscribe { session, subscriber, done } => {
                self.subscribers.entry(session).or_default().push(subscriber);
                // Who does not wait any more will unsubscribe, or be noticed at the next push.
                let _ = done.send(());
            }
            Input::Unsubscribe(subscriptions) => {
                for (session, number) in subscriptions {
                    self.remove(session, number);
                }
            }
            Input::Applied(AppliedEvent::Entry { revision, changes }) => {
                for change in &changes {
                    self.publish(revision, change);
                }
            }
            Input::Applied(AppliedEvent::Installed { .. }) => {
                let sessions: Vec<SessionId> = self.subscribers.keys().copied().collect();
                for session in sessions {
                    self.hand_out(session, &Push::Resync);
                }
            }
        }
    }

    fn remove(&mut self, session: SessionId, number: u64) {
        let Entry::Occupied(mut watching) = self.subscribers.entry(session) else { return };
        let position = watching.get().iter().position(|subscriber| subscriber.number == number);
        if let Some(position) = position {
            watching.get_mut().swap_remove(position);
        }
        if watching.get().is_empty() {
            watching.remove();
        }
    }

    fn publish(&mut self, revision: u64, change: &Change) {
        let session = match change {
            Change::Updated { session, .. } | Change::Warned { session, .. } => session.id,
            Change::Deleted { session, .. } => *session,
        };
        // Encoding is the expensive part, and most sessions are watched elsewhere or not at all.
        if self.subscribers.contains_key(&session) {
            let push = messages::push(revision, change, (self.now)());
            self.hand_out(session, &push);
        }
    }

    fn hand_out(&mut self, session: SessionId, push: &Push) {
        let Entry::Occupied(mut watching) = self.subscribers.entry(session) else { return };
        self.metrics.pushed(watching.get().len());
        watching.get_mut().retain(|subscriber| {
            #[cfg(feature = "planted-bugs")]
            if matches!(push, Push::Update { .. }) && Plant::UpdateNotPushed.shows_every(29) {
                return true;
            }
            let (subscription, push) = (subscriber.number, push.clone());
            let delivery = Delivery { session, subscription, push };
            subscriber.address.deliver(delivery, &self.metrics)
        });
        if watching.get().is_empty() {
            watching.remove();
        }
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
pub(crate) mod tests;
