//! The way to one peer: dials it when it is needed, keeps the connection, and drops it when it
//! fails. However many callers want it, one dials; none waits beyond its own deadline.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    connection::{DialError, PeerConnection},
    endpoint::{Close, PeerEndpoint},
    messages::{AppReply, AppRequest},
    peers::CallError,
};
use crate::members::removal::Removed;

/// Before the second attempt; doubled for each one after.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Short, because a peer that comes back is needed at once, and an attempt costs a few packets.
const RETRY_MAX: Duration = Duration::from_millis(400);
/// A connection that ends sooner counts as a failed attempt.
const STABLE: Duration = Duration::from_secs(1);

/// The peer cannot be reached; nothing was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {node} is unreachable: {reason}")]
pub(crate) struct Unreachable {
    pub(crate) node: u64,
    pub(crate) reason: String,
}

pub(crate) struct Link {
    node: u64,
    /// `host:port`, as the membership has it.
    address: String,
    endpoint: PeerEndpoint,
    state: watch::Sender<State>,
    /// Who wants to know which version of the protocol the peer speaks.
    met: Box<dyn Fn(u64, u16) + Send + Sync>,
    /// Told where the peer says that this node was removed.
    removed: Removed,
    /// The failure that was logged last: the same one is not logged again.
    logged: Mutex<Option<String>>,
}

enum State {
    Idle,
    Dialling {
        failures: u32,
    },
    Up(Arc<PeerConnection>),
    /// Not dialled again before `until`.
    Down {
        until: Instant,
        failures: u32,
        reason: String,
    },
    /// For good.
    Closed,
}

impl Link {
    pub(crate) fn new(
        endpoint: PeerEndpoint,
        node: u64,
        address: String,
        met: impl Fn(u64, u16) + Send + Sync + 'static,
        removed: Removed,
    ) -> Arc<Self> {
        let (state, _) = watch::channel(State::Idle);
        let met = Box::new(met);
        let logged = Mutex::new(None);
        Arc::new(Self { node, address, endpoint, state, met, removed, logged })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The connection, dialled if need be.
    ///
    /// # Errors
    /// [`Unreachable`] at once where the last attempt failed a moment ago, else by `deadline`.
    pub(crate) async fn connected(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Arc<PeerConnection>, Unreachable> {
        let mut state = self.state.subscribe();
        loop {
            self.dial_if_needed();
            match &*state.borrow_and_update() {
                State::Up(connection) if !connection.is_closed() => return Ok(connection.clone()),
                State::Down { reason, .. } => return Err(self.unreachable(reason)),
                State::Closed => return Err(self.unreachable("it is no longer a peer")),
                State::Idle | State::Dialling { .. } | State::Up(_) => {}
            }
            if timeout_at(deadline, state.changed()).await.is_err() {
                return Err(self.unreachable("no connection in time"));
            }
        }
    }

    /// Asks the peer something on behalf of a client.
    ///
    /// # Errors
    /// [`CallError`] tells whether the request may have had an effect.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: AppRequest,
        deadline: Instant,
    ) -> Result<AppReply, CallError> {
        let connection = self.connected(deadline).await;
        let connection = connection.map_err(|error| CallError::NotSent(error.to_string()))?;
        let request = request.for_protocol(connection.protocol);
        let request = request.map_err(|error| CallError::NotSent(error.to_string()))?;
        connection.app.call(request, deadline).await
    }

    /// The peer showed that it lives: no need to wait before dialling it again.
    pub(crate) fn revive(&self) {
        self.state.send_if_modified(|state| {
            let down = matches!(state, State::Down { .. });
            if down {
                *state = State::Idle;
            }
            down
        });
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(&*self.state.borrow(), State::Closed)
    }

    /// Closes the connection; nothing is dialled any more.
    pub(crate) fn close(&self, close: Close, reason: &str) {
        if let State::Up(connection) = self.state.send_replace(State::Closed) {
            connection.close(close, reason);
        }
    }

    fn unreachable(&self, reason: &str) -> Unreachable {
        Unreachable { node: self.node, reason: reason.to_owned() }
    }

    fn dial_if_needed(self: &Arc<Self>) {
        let now = Instant::now();
        let begin = self.state.send_if_modified(|state| {
            let failures = match state {
                State::Idle => 0,
                // Its watcher says within a moment whether it counts as failed.
                State::Up(_) | State::Dialling { .. } | State::Closed => return false,
                State::Down { until, .. } if now < *until => return false,
                State::Down { failures, .. } => *failures,
            };
            *state = State::Dialling { failures };
            true
        });
        if begin {
            tokio::spawn(self.clone().dial_and_watch());
        }
    }

    /// Lives as long as the connection: a second where there is none.
    async fn dial_and_watch(self: Arc<Self>) {
        let connection = match PeerConnection::dial(&self.endpoint, self.node, &self.address).await
        {
            Ok(connection) => Arc::new(connection),
            Err(error) => {
                if let DialError::Handshake(reason) = &error
                    && Close::Removed.is_why(reason)
                {
                    self.removed.note();
                }
                return self.failed(error.to_string());
            }
        };
        (self.met)(self.node, connection.protocol);
        let ended = connection.closed();
        let (since, remote) = (Instant::now(), connection.remote_address());
        let mut failures_before = 0;
        let wanted = self.state.send_if_modified(|state| {
            let State::Dialling { failures } = state else { return false };
            failures_before = *failures;
            *state = State::Up(connection.clone());
            true
        });
        if !wanted {
            return;
        }
        drop(connection);
        let said = self.lock_logged().take();
        tracing::info!(node = self.node, %remote, again = said.is_some(), "connected to peer");
        let reason = ended.await;
        tracing::info!(node = self.node, %remote, %reason, "connection to peer ended");
        if Close::Removed.is_why(&reason) {
            self.removed.note();
        }
        if since.elapsed() < STABLE {
            return self.down(failures_before, reason.to_string());
        }
        self.state.send_if_modified(|state| {
            let up = matches!(state, State::Up(_));
            if up {
                *state = State::Idle;
            }
            up
        });
    }

    fn failed(&self, reason: String) {
        let mut logged = self.lock_logged();
        if logged.as_ref() != Some(&reason) {
            tracing::warn!(node = self.node, address = %self.address, %reason, "peer unreachable");
            *logged = Some(reason.clone());
        }
        drop(logged);
        let failures = match &*self.state.borrow() {
            State::Dialling { failures } => *failures,
            State::Idle | State::Up(_) | State::Down { .. } | State::Closed => 0,
        };
        self.down(failures, reason);
    }

    fn down(&self, failures: u32, reason: String) {
        let until = Instant::now() + retry_delay(failures);
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = State::Down { until, failures: failures.saturating_add(1), reason };
            }
            open
        });
    }

    fn lock_logged(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between half and all of the doubled delay, so that nodes that failed together do not return
/// together.
fn retry_delay(failures: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
    let [random, ..] = uuid::Uuid::new_v4().into_bytes();
    doubled / 2 + doubled / 2 * u32::from(random) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_are_never_nothing() {
        for failures in [0, 1, 2, 3, 10, u32::MAX] {
            let doubled = RETRY_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
            for _ in 0..100 {
                let delay = retry_delay(failures);
                assert!(doubled / 2 <= delay && delay <= doubled, "{failures}: {delay:?}");
            }
        }
    }
}
