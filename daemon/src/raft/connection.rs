//! A connection that this node dialled: proven to lead to the right peer, ready for calls.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{ConnectError, Connection, ConnectionError, RecvStream, SendStream};
use tokio::time::timeout;

use super::{
    calls::CallLane,
    endpoint::{Close, NotAPeer, PeerEndpoint},
    frames::{self, FrameError},
    messages::{
        AppReply, HelloV1, OpenV1, PROTOCOL_NEWEST, PROTOCOL_OLDEST, RaftReplyV1, WelcomeV1,
    },
};

/// From the first packet to the peer's welcome.
const DIAL_MAX: Duration = Duration::from_secs(1);

/// How urgent a stream is: of what waits to be sent, the highest number goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Priority {
    /// Must never delay anything.
    Snapshot = -10,
    App = 0,
    Append = 10,
    /// Votes and heartbeats decide whether there is a leader.
    RaftCalls = 20,
}

impl Priority {
    pub(crate) fn set(self, stream: &SendStream) {
        // Fails only for a stream that is closed, which the next write notices.
        let _ = stream.set_priority(self as i32);
    }
}

/// There is no connection to a peer. Nothing was asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot resolve {address:?}: {source}")]
    Resolve { address: String, source: io::Error },
    #[error("{address:?} resolves to no address")]
    NoAddress { address: String },
    #[error("cannot dial: {0}")]
    Dial(#[from] ConnectError),
    #[error("no connection: {0}")]
    Handshake(#[from] ConnectionError),
    #[error("refused the peer: {0}")]
    NotAPeer(#[from] NotAPeer),
    #[error("not welcome: {0}")]
    NotWelcome(FrameError),
    #[error("it chose version {0} of the peer protocol, which this node does not speak")]
    Version(u16),
    #[error("no answer within {} ms", DIAL_MAX.as_millis())]
    TimedOut,
}

/// The dialled side of a connection. Closed when dropped.
pub(crate) struct PeerConnection {
    connection: Connection,
    /// The version of the peer protocol that both speak.
    pub(crate) protocol: u16,
    /// Votes, heartbeats, transfers.
    pub(crate) raft: CallLane<RaftReplyV1>,
    /// Proposals and read indexes.
    pub(crate) app: CallLane<AppReply>,
}

impl PeerConnection {
    /// Dials `node` at `address`, `host:port`, and makes sure of each other.
    ///
    /// # Errors
    /// [`DialError`], after a second at most.
    pub(crate) async fn dial(
        endpoint: &PeerEndpoint,
        node: u64,
        address: &str,
    ) -> Result<Self, DialError> {
        let dialling = Self::dial_any(endpoint, node, address);
        timeout(DIAL_MAX, dialling).await.unwrap_or(Err(DialError::TimedOut))
    }

    async fn dial_any(
        endpoint: &PeerEndpoint,
        node: u64,
        address: &str,
    ) -> Result<Self, DialError> {
        let resolve_error = |source| DialError::Resolve { address: address.to_owned(), source };
        let places = tokio::net::lookup_host(address).await.map_err(resolve_error)?;
        let ours = endpoint.local_address().map_err(resolve_error)?;
        // A socket of one family cannot reach the other.
        let mut places = places.filter(|place| ours.is_ipv6() || place.is_ipv4());
        let mut last = DialError::NoAddress { address: address.to_owned() };
        loop {
            let Some(place) = places.next() else { return Err(last) };
            match Self::dial_one(endpoint, node, place).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
    }

    async fn dial_one(
        endpoint: &PeerEndpoint,
        node: u64,
        place: SocketAddr,
    ) -> Result<Self, DialError> {
        let connection = endpoint.dial(place, node)?.await?;
        match greet(endpoint, &connection, node).await {
            Ok(protocol) => Self::start(connection, protocol).await.map_err(DialError::NotWelcome),
            Err(error) => {
                if matches!(error, DialError::NotAPeer(_)) {
                    Close::WrongPeer.connection(&connection, &error.to_string());
                }
                // What the peer said when it closed says more than the stream that broke.
                match connection.close_reason() {
                    Some(ConnectionError::LocallyClosed) | None => Err(error),
                    Some(reason) => Err(DialError::Handshake(reason)),
                }
            }
        }
    }

    async fn start(connection: Connection, protocol: u16) -> Result<Self, FrameError> {
        let broken = |what: &'static str| {
            let connection = connection.clone();
            move |error: &FrameError| {
                let close = if error.is_violation() { Close::Violation } else { Close::Broken };
                close.connection(&connection, &format!("{what}: {error}"));
            }
        };
        let (send, recv) = open(&connection, &OpenV1::RaftCalls, Priority::RaftCalls).await?;
        let raft = CallLane::start(send, recv, broken("calls of Raft"));
        let (send, recv) = open(&connection, &OpenV1::AppCalls, Priority::App).await?;
        let app = CallLane::start(send, recv, broken("calls of clients"));
        Ok(Self { connection, protocol, raft, app })
    }

    /// Opens a stream and says what it is for.
    ///
    /// # Errors
    /// [`FrameError`] where the connection is lost.
    pub(crate) async fn open(
        &self,
        purpose: &OpenV1,
        priority: Priority,
    ) -> Result<(SendStream, RecvStream), FrameError> {
        open(&self.connection, purpose, priority).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Waits until the connection ends, and says why it did.
    pub(crate) fn closed(self: &Arc<Self>) -> impl Future<Output = ConnectionError> + use<> {
        let connection = self.connection.clone();
        async move { connection.closed().await }
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(crate) fn close(&self, close: Close, reason: &str) {
        close.connection(&self.connection, reason);
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        self.close(Close::Forgotten, "no longer needed");
    }
}

async fn open(
    connection: &Connection,
    purpose: &OpenV1,
    priority: Priority,
) -> Result<(SendStream, RecvStream), FrameError> {
    let (mut send, recv) = connection
        .open_bi()
        .await
        .map_err(|error| FrameError::Write(quinn::WriteError::ConnectionLost(error)))?;
    priority.set(&send);
    frames::write(&mut send, purpose).await?;
    Ok((send, recv))
}

/// Both sides know each other's certificates by now; the peer accepts ours only with its welcome.
async fn greet(
    endpoint: &PeerEndpoint,
    connection: &Connection,
    node: u64,
) -> Result<u16, DialError> {
    let found = endpoint.peer_of(connection)?;
    if found != node {
        return Err(NotAPeer::OtherNode { found, wanted: node }.into());
    }
    let hello = OpenV1::Hello(HelloV1 {
        cluster: endpoint.name().cluster.to_bytes(),
        from: endpoint.name().node,
        to: node,
        oldest: PROTOCOL_OLDEST,
        newest: PROTOCOL_NEWEST,
    });
    let not_welcome = DialError::NotWelcome;
    let (mut send, mut recv) =
        open(connection, &hello, Priority::RaftCalls).await.map_err(not_welcome)?;
    let _ = send.finish();
    let WelcomeV1 { protocol } = frames::read_one(&mut recv).await.map_err(not_welcome)?;
    if (PROTOCOL_OLDEST..=PROTOCOL_NEWEST).contains(&protocol) {
        Ok(protocol)
    } else {
        Err(DialError::Version(protocol))
    }
}
