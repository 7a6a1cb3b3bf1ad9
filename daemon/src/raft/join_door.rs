//! The door for nodes that are no members yet: who shows a good token gets an id and a certificate.
//!
//! Strangers can knock here, so there is little room, little time, and nothing is taken from them
//! but one small frame.

use std::time::{Duration, SystemTime};

use quinn::{Connection, SendStream};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    endpoint::Close,
    frames::{self, FrameError},
    join_messages::{JoinReplyV1, JoinRequestV1, WelcomedV1},
    messages::{PROTOCOL_NEWEST, PROTOCOL_OLDEST},
};
use crate::{
    members::{Showing, address::Address, requests::OperatorRefusal, token::digest_of},
    pki::{ca::ClusterCa, request::NodeRequest},
    sessions::refusal::Refusal,
};

/// Connections at a time.
const JOINING_MAX: usize = 4;
/// From the end of the handshake to the end of the request.
const ASK_MAX: Duration = Duration::from_secs(2);
/// From the request to the answer: the cluster must agree.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long the other side may take to fetch its answer.
const FETCH_MAX: Duration = Duration::from_secs(2);
/// A request for a certificate, two addresses, and some room.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Why a node does not get in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NotAdmitted {
    /// For the operator of the node that asks.
    pub(crate) message: String,
    /// Asking again, here or elsewhere, may help.
    pub(crate) retryable: bool,
}

/// Why a connection of a node that wants to join ends without a new member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLetIn {
    #[error("as many nodes are joining as may at a time; try again")]
    Busy,
    #[error("it took more than {} s to say what it wants", ASK_MAX.as_secs())]
    TimedOut,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(String),
}

impl NotLetIn {
    pub(super) fn close(&self) -> Close {
        match self {
            Self::Busy => Close::Busy,
            Self::TimedOut => Close::Violation,
            Self::Frame(error) if error.is_violation() => Close::Violation,
            Self::Frame(_) => Close::Broken,
            Self::Refused(_) => Close::Forgotten,
        }
    }
}

/// What a node that lets others in must have.
pub(crate) struct JoinDoor {
    /// Absent where this node cannot issue certificates.
    authority: Option<ClusterCa>,
    places: Semaphore,
}

impl JoinDoor {
    pub(crate) fn new(authority: Option<ClusterCa>) -> Self {
        Self { authority, places: Semaphore::new(JOINING_MAX) }
    }

    /// Hears what the node at the other end wants, and answers. `admit` has the cluster decide and
    /// tells the node's id; it is asked only where everything else is in order, because it uses up
    /// the token.
    ///
    /// # Errors
    /// [`NotLetIn`]. Where the cluster refused, the node was told.
    pub(crate) async fn serve<F: Future<Output = Result<u64, NotAdmitted>>>(
        &self,
        connection: &Connection,
        level: u16,
        admit: impl FnOnce(Showing) -> F,
    ) -> Result<u64, NotLetIn> {
        let _place = self.places.try_acquire().map_err(|_| NotLetIn::Busy)?;
        let asking = timeout(ASK_MAX, read_request(connection));
        let (send, request) = asking.await.map_err(|_| NotLetIn::TimedOut)??;
        let answer = self.answer(request, level, admit).await;
        reply(send, &answer).await?;
        match answer {
            JoinReplyV1::Welcome(welcomed) => Ok(welcomed.node),
            JoinReplyV1::Refused { message, .. } => Err(NotLetIn::Refused(message)),
        }
    }

    async fn answer<F: Future<Output = Result<u64, NotAdmitted>>>(
        &self,
        request: JoinRequestV1,
        level: u16,
        admit: impl FnOnce(Showing) -> F,
    ) -> JoinReplyV1 {
        match self.welcome(request, level, admit).await {
            Ok(welcomed) => JoinReplyV1::Welcome(welcomed),
            Err(NotAdmitted { message, retryable }) => JoinReplyV1::Refused { message, retryable },
        }
    }

    async fn welcome<F: Future<Output = Result<u64, NotAdmitted>>>(
        &self,
        request: JoinRequestV1,
        level: u16,
        admit: impl FnOnce(Showing) -> F,
    ) -> Result<WelcomedV1, NotAdmitted> {
        let JoinRequestV1 { token, secret, csr, peer, http, oldest, newest } = request;
        require_version(oldest, newest, level)?;
        let authority = self.authority.as_ref().ok_or_else(|| {
            NotAdmitted::for_now(
                "this node does not hold the authority's key (peer.ca_key), so it can let nobody \
                 in; ask another node, or set peer.ca_key on it",
            )
        })?;
        for address in [&peer, &http] {
            address.parse::<Address>().map_err(NotAdmitted::for_good)?;
        }
        let asked = NodeRequest::read(&csr).map_err(NotAdmitted::for_good)?;
        let (digest, key) = (digest_of(&secret), asked.key_digest());
        let admitting = timeout(ANSWER_MAX, admit(Showing { token, digest, key, peer, http }));
        let node = admitting.await.unwrap_or(Err(NotAdmitted::unknown()))?;
        let certificate = authority
            .sign_request(node, &asked, SystemTime::now())
            .map_err(NotAdmitted::for_now)?;
        let (ca, ca_key) = (authority.certificate_pem().to_owned(), authority.key_pem());
        Ok(WelcomedV1 { node, certificate, ca, ca_key, level })
    }
}

impl NotAdmitted {
    fn for_good(reason: impl ToString) -> Self {
        Self { message: reason.to_string(), retryable: false }
    }

    fn for_now(reason: impl ToString) -> Self {
        Self { message: reason.to_string(), retryable: true }
    }

    /// The node may be in. It is told so when it asks again.
    fn unknown() -> Self {
        Self::for_now("the cluster did not agree in time; ask again with the same token")
    }
}

impl From<Refusal> for NotAdmitted {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(reject) => Self::for_good(reject),
            Refusal::LeadershipLost | Refusal::TimedOut => Self::unknown(),
            Refusal::NoLeader
            | Refusal::Overloaded
            | Refusal::ShuttingDown
            | Refusal::Storage
            | Refusal::NodeRemoved => Self::for_now(refusal),
        }
    }
}

impl From<OperatorRefusal> for NotAdmitted {
    fn from(refusal: OperatorRefusal) -> Self {
        if let OperatorRefusal::Way(refusal) = refusal {
            refusal.into()
        } else {
            Self::for_now(refusal)
        }
    }
}

/// Who speaks version N understands format level N.
fn require_version(oldest: u16, newest: u16, level: u16) -> Result<(), NotAdmitted> {
    let version = env!("CARGO_PKG_VERSION");
    if newest < level.max(PROTOCOL_OLDEST) {
        return Err(NotAdmitted::for_good(format_args!(
            "the cluster is at format level {level}, and this version understands {newest}; \
             install version {version}, which the cluster's nodes run"
        )));
    }
    if PROTOCOL_NEWEST < oldest {
        return Err(NotAdmitted::for_good(format_args!(
            "the cluster's nodes speak versions {PROTOCOL_OLDEST} to {PROTOCOL_NEWEST} of the peer \
             protocol, and this version {oldest} to {newest}; install version {version}, which \
             they run"
        )));
    }
    Ok(())
}

async fn read_request(connection: &Connection) -> Result<(SendStream, JoinRequestV1), FrameError> {
    let (send, mut recv) = connection.accept_bi().await.map_err(quinn::ReadError::from)?;
    let request = frames::read_small(&mut recv, REQUEST_BYTES_MAX).await?;
    Ok((send, request))
}

/// Sends the answer, and waits until it has arrived, or cannot.
async fn reply(mut send: SendStream, reply: &JoinReplyV1) -> Result<(), FrameError> {
    frames::write(&mut send, reply).await?;
    let _ = send.finish();
    // Whether or not: who did not get it asks again.
    let _ = timeout(FETCH_MAX, send.stopped()).await;
    Ok(())
}
