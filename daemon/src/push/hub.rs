//! Hands each committed change to everybody who watches its session, encoded once.
//!
//! One task owns all subscriptions. It never waits for a subscriber: whoever falls
//! [`QUEUE_MAX`] messages behind is dropped and told so, and slows nobody.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use axum::extract::ws::Utf8Bytes;
use synckairos_protocol::{
    event::Change,
    ids::SessionId,
    time::Stamp,
    wire::{
        rest::SessionState,
        ws::{CauseForm, ServerMessage},
    },
};
use synckairos_raft_store::AppliedEvent;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::Metrics;

/// Messages that wait for one subscriber.
pub(crate) const QUEUE_MAX: usize = 256;
/// Subscriptions that wait for the hub; beyond it, new sockets wait.
const INPUTS_MAX: usize = 1_024;

/// Cluster time as the node best knows it.
pub(crate) type Now = Arc<dyn Fn() -> Stamp + Send + Sync>;

/// What a subscriber is handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// The session reached `version`.
    Update { version: u64, text: Utf8Bytes },
    /// Something happened that left the version as it was.
    Notice(Utf8Bytes),
    /// The last message: the session is gone.
    Deleted(Utf8Bytes),
    /// Changes were skipped, because this node took over a snapshot: read the session again.
    Resync,
}

/// Everything that can wake the hub.
enum Input {
    Subscribe { session: SessionId, subscriber: Subscriber, done: oneshot::Sender<()> },
    Unsubscribe { session: SessionId, number: u64 },
    Applied(AppliedEvent),
}

struct Subscriber {
    number: u64,
    queue: mpsc::Sender<Push>,
    /// Cancelled when the queue was full.
    slow: CancellationToken,
}

/// The handle of the hub.
#[derive(Clone)]
pub(crate) struct Hub {
    inputs: mpsc::Sender<Input>,
    numbers: Arc<std::sync::atomic::AtomicU64>,
}

/// A place in the hub. It must be given back with [`Hub::unsubscribe`].
pub(crate) struct Subscription {
    session: SessionId,
    number: u64,
    pub(crate) queue: mpsc::Receiver<Push>,
    /// Cancelled once the subscriber was dropped for being slow.
    pub(crate) slow: CancellationToken,
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

    /// Registers a subscriber: it misses no change from the return of this on.
    ///
    /// # Errors
    /// [`HubStopped`]
    pub(crate) async fn subscribe(&self, session: SessionId) -> Result<Subscription, HubStopped> {
        let number = self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let slow = CancellationToken::new();
        let subscriber = Subscriber { number, queue: sender, slow: slow.clone() };
        let (done, registered) = oneshot::channel();
        let input = Input::Subscribe { session, subscriber, done };
        self.inputs.send(input).await.map_err(|_| HubStopped)?;
        registered.await.map_err(|_| HubStopped)?;
        Ok(Subscription { session, number, queue, slow })
    }

    pub(crate) async fn unsubscribe(&self, subscription: Subscription) {
        let Subscription { session, number, .. } = subscription;
        // A hub that has stopped holds no place.
        let _ = self.inputs.send(Input::Unsubscribe { session, number }).await;
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
            Input::Unsubscribe { session, number } => self.remove(session, number),
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
            let push = self.encode(revision, change);
            self.hand_out(session, &push);
        }
    }

    fn encode(&self, revision: u64, change: &Change) -> Push {
        let timestamp = (self.now)();
        let server_time = timestamp;
        match change {
            Change::Updated { session, event, cause } => Push::Update {
                version: session.version,
                text: text(&ServerMessage::StateUpdate {
                    session_id: session.id,
                    timestamp,
                    state: Box::new(SessionState::from(&**session)),
                    version: session.version,
                    revision,
                    cause: CauseForm::of(event, *cause),
                    server_time,
                }),
            },
            Change::Warned { session, warning } => Push::Notice(text(&ServerMessage::Warning {
                session_id: session.id,
                timestamp,
                version: session.version,
                revision,
                participant: warning.participant,
                threshold: warning.threshold,
                at: warning.at,
                server_time,
            })),
            Change::Deleted { session, cause, .. } => {
                Push::Deleted(text(&ServerMessage::SessionDeleted {
                    session_id: *session,
                    timestamp,
                    revision: Some(revision),
                    cause: Some(CauseForm::deleted(*cause)),
                    server_time,
                }))
            }
        }
    }

    fn hand_out(&mut self, session: SessionId, push: &Push) {
        let Entry::Occupied(mut watching) = self.subscribers.entry(session) else { return };
        self.metrics.pushed(watching.get().len());
        watching.get_mut().retain(|subscriber| match subscriber.queue.try_send(push.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                subscriber.slow.cancel();
                self.metrics.slow_consumer();
                false
            }
            Err(TrySendError::Closed(_)) => false,
        });
        if watching.get().is_empty() {
            watching.remove();
        }
    }
}

/// The message as it goes into a text frame.
pub(super) fn text(message: &ServerMessage) -> Utf8Bytes {
    let json = serde_json::to_string(message).expect("forms have string keys and finite numbers");
    Utf8Bytes::from(json)
}

#[cfg(test)]
#[path = "hub_tests.rs"]
pub(crate) mod tests;
