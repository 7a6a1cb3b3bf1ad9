//! A node that is no member yet asks those that its token names, one after the other.

use std::{
    fmt::Write,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use quinn::{ConnectError, Connection, ConnectionError, Endpoint, VarInt};
use synckairos_protocol::machine::LEVEL_NEWEST;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    endpoint,
    frames::{self, FrameError},
    join_messages::{JoinReplyV1, JoinRequestV1, WelcomedV1},
    messages::{PROTOCOL_NEWEST, PROTOCOL_OLDEST},
};
use crate::{
    members::{address::Address, token::JoinToken},
    pki::{NodeName, PkiError, request::NodeKey},
};

/// For all nodes together, those that are down included.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// After the last of the token's nodes, before the first one again.
const PAUSE: Duration = Duration::from_millis(500);
/// Of TLS, among the codes with which a QUIC connection fails.
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

/// No node let this one in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotJoined {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("{0}")]
    Refused(String),
    #[error(
        "none of the nodes that the token names let this one in:{failures}\ncheck that they run and \
         that their peer ports (UDP) can be reached from here, then repeat the command: the token \
         is still good until it expires"
    )]
    Nobody { failures: String },
    #[error(
        "none of the nodes that the token names is one of its cluster any more:{failures}\nmake a \
         new token with `synckairos cluster token create`"
    )]
    Strangers { failures: String },
    #[error("the token names no nodes; make a new one with `synckairos cluster token create`")]
    NoNodes,
}

/// One node did not answer, or not well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{address:?} cannot be resolved: {source}")]
    Resolve { address: String, source: io::Error },
    #[error("{0:?} resolves to no address")]
    NoAddress(String),
    #[error("no socket: {0}")]
    Socket(io::Error),
    #[error("cannot dial: {0}")]
    Dial(#[from] ConnectError),
    #[error("it does not prove that it is this node of the token's cluster: {0}")]
    Stranger(ConnectionError),
    #[error("no connection: {0}")]
    Connection(ConnectionError),
    #[error("no answer: {0}")]
    Answer(#[from] FrameError),
    #[error("no answer in time")]
    TimedOut,
    #[error("{0}")]
    Refused(String),
}

/// Asks until a node lets this one in, refuses for good, or a minute has passed. It may be asked
/// again with the same key and addresses.
///
/// # Errors
/// [`NotJoined`], worded for the operator.
pub(crate) async fn ask(
    token: &JoinToken,
    key: &NodeKey,
    (peer, http): (&Address, &Address),
) -> Result<WelcomedV1, NotJoined> {
    let request = JoinRequestV1 {
        token: token.id,
        secret: token.secret,
        csr: key.request()?,
        peer: peer.to_string(),
        http: http.to_string(),
        oldest: PROTOCOL_OLDEST,
        newest: PROTOCOL_NEWEST,
    };
    ask_until(token, &request, Instant::now() + JOIN_WITHIN).await
}

pub(super) async fn ask_until(
    token: &JoinToken,
    request: &JoinRequestV1,
    deadline: Instant,
) -> Result<WelcomedV1, NotJoined> {
    if token.nodes.is_empty() {
        return Err(NotJoined::NoNodes);
    }
    let config = endpoint::joining(token.pin)?;
    loop {
        let (mut failures, mut hopeless) = (String::new(), true);
        for (node, address) in &token.nodes {
            let name = NodeName { cluster: token.cluster, node: *node };
            let asking = ask_at(&config, name, address, request);
            let asked = timeout_at(deadline, asking).await.unwrap_or(Err(Failure::TimedOut));
            let failure = match asked {
                Ok(JoinReplyV1::Welcome(welcomed)) => return readable(welcomed),
                Ok(JoinReplyV1::Refused { message, retryable: false }) => {
                    return Err(NotJoined::Refused(message));
                }
                Ok(JoinReplyV1::Refused { message, retryable: true }) => Failure::Refused(message),
                Err(failure) => failure,
            };
            hopeless &= matches!(failure, Failure::Stranger(_));
            // Writing to a string cannot fail.
            let _ = write!(failures, "\n  node {node} at {address}: {failure}");
        }
        if hopeless {
            return Err(NotJoined::Strangers { failures });
        }
        if deadline <= Instant::now() + PAUSE {
            return Err(NotJoined::Nobody { failures });
        }
        sleep(PAUSE).await;
    }
}

fn readable(welcomed: WelcomedV1) -> Result<WelcomedV1, NotJoined> {
    if LEVEL_NEWEST < welcomed.level {
        return Err(NotJoined::Refused(format!(
            "the cluster is at format level {}, and this version understands {LEVEL_NEWEST}; \
             install the version that its nodes run",
            welcomed.level
        )));
    }
    Ok(welcomed)
}

async fn ask_at(
    config: &quinn::ClientConfig,
    name: NodeName,
    address: &str,
    request: &JoinRequestV1,
) -> Result<JoinReplyV1, Failure> {
    let resolve_error = |source| Failure::Resolve { address: address.to_owned(), source };
    let places = tokio::net::lookup_host(address).await.map_err(resolve_error)?;
    let mut last = Failure::NoAddress(address.to_owned());
    for place in places {
        let socket = match place.ip() {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let endpoint = Endpoint::client(socket).map_err(Failure::Socket)?;
        let dialled = endpoint.connect_with(config.clone(), place, &name.to_string())?.await;
        match dialled {
            Ok(connection) => {
                let reply = converse(&connection, request).await;
                connection.close(VarInt::from_u32(0), b"answered");
                endpoint.wait_idle().await;
                return reply;
            }
            Err(error) if is_of_tls(&error) => last = Failure::Stranger(error),
            Err(error) => last = Failure::Connection(error),
        }
    }
    Err(last)
}

/// Did this end not trust the other?
fn is_of_tls(error: &ConnectionError) -> bool {
    let ConnectionError::TransportError(error) = error else { return false };
    CRYPTO_ERRORS.contains(&u64::from(error.code))
}

async fn converse(
    connection: &Connection,
    request: &JoinRequestV1,
) -> Result<JoinReplyV1, Failure> {
    let reply = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(quinn::WriteError::from)?;
        frames::write(&mut send, request).await?;
        let _ = send.finish();
        frames::read_one(&mut recv).await
    };
    reply.await.map_err(|error: FrameError| match connection.close_reason() {
        // What the node said when it closed says more than the stream that broke.
        Some(reason) => Failure::Connection(reason),
        None => Failure::Answer(error),
    })
}
