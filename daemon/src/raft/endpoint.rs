//! The node's one UDP socket: peers dial it, and from it this node dials peers.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use quinn::{
    ClientConfig, Connection, ConnectionError, ConnectionId, ConnectionIdGenerator, Endpoint,
    EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig},
};
use rustls_pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};

use super::reset_key::ResetKey;
use crate::pki::{
    ClusterId, NodeName, NotANode, PkiError,
    identity::PeerIdentity,
    tls::{self, JOIN_ALPN},
};

/// A quiet connection shows that it lives this often.
const KEEP_ALIVE: Duration = Duration::from_millis(250);
/// A connection that is silent for so long is lost. Short, or a peer that was killed and came back
/// stays a ghost.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Assumed before the first measurement: a lost first packet is sent again after three times this.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// Asked of the kernel for each direction; it gives at most `net.core.rmem_max` and `wmem_max`.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Streams a peer may have open at once: appends, calls, a snapshot, and those being closed.
const STREAMS_MAX: u32 = 64;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Six are random in a UUID before its version, and these are enough to tell connections apart.
const CONNECTION_ID_BYTES: usize = 6;
/// Peers refuse an expired certificate, so its end is announced this long before.
const EXPIRY_WARNING: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// In the data directory.
const RESET_KEY_FILE: &str = "peer-reset.key";
/// Handshakes that wait to be looked at.
const INCOMING_MAX: usize = 256;

/// Why an end of a connection closed it. Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Close {
    /// The node stops.
    Stopping = 1,
    /// The peer is not the node that it should be.
    WrongPeer = 2,
    /// There is no version of the protocol that both speak.
    Version = 3,
    /// The peer broke the protocol.
    Violation = 4,
    /// The same peer opened a newer connection.
    Superseded = 5,
    /// The peer is no longer needed, or is reached elsewhere.
    Forgotten = 6,
    /// A stream broke that the connection cannot be without.
    Broken = 7,
    /// The peer was removed from the cluster.
    Removed = 8,
    /// As many nodes are joining as may at a time.
    Busy = 9,
    /// The peer lacks entries that it had acknowledged.
    LogLost = 10,
}

impl Close {
    /// Closes a connection that is still open; why it ended stays known where it already has.
    pub(crate) fn connection(self, connection: &Connection, reason: &str) {
        if connection.close_reason().is_none() {
            connection.close(VarInt::from_u32(self as u32), reason.as_bytes());
        }
    }

    /// Did the other end close the connection for this reason?
    pub(crate) fn is_why(self, error: &ConnectionError) -> bool {
        let ConnectionError::ApplicationClosed(close) = error else { return false };
        close.error_code == VarInt::from_u32(self as u32)
    }
}

/// The peer socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("the peer address {address} is taken by another process; stop it, or choose another")]
    Taken { address: SocketAddr },
    #[error("cannot listen for peers on {address}: {source}")]
    Socket { address: SocketAddr, source: io::Error },
    #[error("cannot create {path}: {source}", path = path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Identity(#[from] PkiError),
}

/// A peer's certificate does not make it a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAPeer {
    #[error("it showed no certificate")]
    Anonymous,
    #[error("its certificate {0}")]
    Certificate(#[from] NotANode),
    #[error("it belongs to cluster {found}, not to {ours}")]
    OtherCluster { found: ClusterId, ours: ClusterId },
    #[error("it is node {found}, not node {wanted}")]
    OtherNode { found: u64, wanted: u64 },
    #[error("it has the certificate of this very node")]
    Ourselves,
}

/// Cheap to clone; all clones are one socket.
#[derive(Clone)]
pub(crate) struct PeerEndpoint {
    endpoint: Endpoint,
    dialing: ClientConfig,
    name: NodeName,
}

impl PeerEndpoint {
    /// Opens the socket. Connections wait until somebody accepts them. `data_dir` keeps what makes
    /// peers notice a restart at once; it is not touched where the address is taken.
    ///
    /// # Errors
    /// [`BindError`]; [`BindError::Taken`] where another process listens there.
    pub(crate) fn bind(
        address: SocketAddr,
        identity: &PeerIdentity,
        data_dir: &Path,
    ) -> Result<Self, BindError> {
        let socket = open_socket(address).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                BindError::Taken { address }
            } else {
                BindError::Socket { address, source }
            }
        })?;
        fs::create_dir_all(data_dir)
            .map_err(|source| BindError::Directory { path: data_dir.to_owned(), source })?;
        let reset_key = ResetKey::load_or_create(&data_dir.join(RESET_KEY_FILE))?;
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        // Quinn's own ids differ from start to start, and it does not answer ids that it does not
        // know for its own: peers would not be told that their connections are gone.
        config.cid_generator(|| Box::new(RandomIds));
        warn_before_expiry(identity);
        let transport = Arc::new(transport());
        let server = accepting(identity, transport.clone())?;
        let dialing = dialing(identity, transport)?;
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
            .map_err(|source| BindError::Socket { address, source })?;
        Ok(Self { endpoint, dialing, name: identity.name })
    }

    /// Where the socket is, with the port that the system chose if it was to choose one.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Whom this node proves to be.
    pub(crate) fn name(&self) -> NodeName {
        self.name
    }

    /// The next handshake; `None` once the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<quinn::Incoming> {
        self.endpoint.accept().await
    }

    /// Starts a handshake in which the other side must prove to be `node`.
    ///
    /// # Errors
    /// Where the address cannot be dialled from this socket, or the endpoint is closed.
    pub(crate) fn dial(
        &self,
        address: SocketAddr,
        node: u64,
    ) -> Result<quinn::Connecting, quinn::ConnectError> {
        self.dial_name(address, NodeName { node, ..self.name })
    }

    /// As [`PeerEndpoint::dial`], for a node of any cluster.
    pub(crate) fn dial_name(
        &self,
        address: SocketAddr,
        name: NodeName,
    ) -> Result<quinn::Connecting, quinn::ConnectError> {
        self.endpoint.connect_with(self.dialing.clone(), address, &name.to_string())
    }

    /// Is the other end no peer, but a node that wants to become one?
    pub(crate) fn is_joining(connection: &Connection) -> bool {
        let data = connection.handshake_data().and_then(|data| data.downcast().ok());
        data.is_some_and(|data: Box<HandshakeData>| data.protocol.as_deref() == Some(JOIN_ALPN))
    }

    /// Who is at the other end, proven by its certificate: some other node of this cluster.
    ///
    /// # Errors
    /// [`NotAPeer`].
    pub(crate) fn peer_of(&self, connection: &Connection) -> Result<u64, NotAPeer> {
        let chain = connection.peer_identity().ok_or(NotAPeer::Anonymous)?;
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>();
        let chain = chain.map_err(|_| NotAPeer::Anonymous)?;
        let peer = NodeName::of(chain.first().ok_or(NotAPeer::Anonymous)?)?;
        if peer.cluster != self.name.cluster {
            return Err(NotAPeer::OtherCluster { found: peer.cluster, ours: self.name.cluster });
        }
        if peer.node == self.name.node {
            return Err(NotAPeer::Ourselves);
        }
        Ok(peer.node)
    }

    /// Closes every connection and waits until the peers were told, at most `wait`.
    pub(crate) async fn close(&self, wait: Duration) {
        self.endpoint.close(VarInt::from_u32(Close::Stopping as u32), b"the node is stopping");
        if tokio::time::timeout(wait, self.endpoint.wait_idle()).await.is_err() {
            tracing::debug!("not every peer heard that this node is stopping");
        }
    }
}

fn warn_before_expiry(identity: &PeerIdentity) {
    let left = identity.expires.duration_since(SystemTime::now()).unwrap_or_default();
    if left < EXPIRY_WARNING {
        let days = left.as_secs() / (24 * 60 * 60);
        tracing::warn!(days, "this node's certificate expires soon; issue a new one and restart");
    }
}

/// Connection ids that say nothing.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&uuid::Uuid::new_v4().into_bytes()[..CONNECTION_ID_BYTES])
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    for result in [
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES),
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES),
    ] {
        if let Err(error) = result {
            tracing::debug!(%error, "the peer socket keeps its default buffers");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle_millis = u32::try_from(IDLE_MAX.as_millis()).unwrap_or(u32::MAX);
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_millis))))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    transport
}

fn accepting(
    identity: &PeerIdentity,
    transport: Arc<TransportConfig>,
) -> Result<ServerConfig, PkiError> {
    let crypto = QuicServerConfig::try_from(tls::server(identity)?)
        .map_err(|error| PkiError::Tls(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport).max_incoming(INCOMING_MAX).migration(false);
    Ok(config)
}

fn dialing(
    identity: &PeerIdentity,
    transport: Arc<TransportConfig>,
) -> Result<ClientConfig, PkiError> {
    client_config(tls::client(identity)?, transport)
}

/// For connections of a node that is no peer yet, to the cluster whose authority has this pin.
///
/// # Errors
/// [`PkiError::Tls`].
pub(super) fn joining(pin: [u8; 32]) -> Result<ClientConfig, PkiError> {
    client_config(tls::joining(pin)?, Arc::new(transport()))
}

fn client_config(
    tls: rustls::ClientConfig,
    transport: Arc<TransportConfig>,
) -> Result<ClientConfig, PkiError> {
    let crypto =
        QuicClientConfig::try_from(tls).map_err(|error| PkiError::Tls(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport);
    Ok(config)
}
