//! Clusters of certificates, and a peer that answers what a test tells it to.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use openraft::raft::StreamAppendError;
use quinn::{Connection, RecvStream, SendStream};
use rcgen::{CertificateParams, Issuer, KeyPair};
use synckairos_protocol::time::Stamp;
use synckairos_raft_store::wire::VoteV1;
use tempfile::TempDir;
use tokio::{net::UdpSocket, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    pki::{
        ClusterId, NodeName,
        ca::ClusterCa,
        identity::{IdentityFiles, PeerIdentity},
    },
    raft::{
        append_stream,
        endpoint::{BindError, PeerEndpoint},
        frames,
        listener::{Entrant, Refused, admit},
        messages::{
            AppReply, AppRequest, AppendRequest, AppendResult, OpenV1, RaftReplyV1, RaftRequestV1,
            VoteReplyV1, VoteRequestV1,
        },
        serve_calls::serve_calls,
        service::ServeError,
    },
    sessions::refusal::Refusal,
};

/// The test peer's log conflicts here and nowhere else.
pub(super) const CONFLICT_AT: u64 = 3_000_000;

/// No test waits longer than this for anything.
pub(in crate::raft) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("did not happen within 20 s")
}

pub(super) fn vote_of(node: u64) -> VoteV1 {
    VoteV1 { term: 1, voted_for: node, committed: true }
}

/// An authority, and a directory in which it issues certificates.
pub(in crate::raft) struct Cluster {
    ca: ClusterCa,
    directory: TempDir,
}

impl Cluster {
    pub(in crate::raft) fn new() -> Self {
        let ca = ClusterCa::create(ClusterId::random(), SystemTime::now()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        ca.save(directory.path()).unwrap();
        Self { ca, directory }
    }

    pub(in crate::raft) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(in crate::raft) fn name(&self, node: u64) -> NodeName {
        NodeName { cluster: self.ca.cluster(), node }
    }

    pub(super) fn issue_files(&self, node: u64) -> IdentityFiles {
        let directory = self.directory().join(format!("node-{node}"));
        fs::create_dir_all(&directory).unwrap();
        self.ca.issue_node(node, SystemTime::now()).unwrap().save(&directory).unwrap();
        IdentityFiles::in_directory(&directory)
    }

    pub(super) fn identity(&self, node: u64) -> PeerIdentity {
        PeerIdentity::load(&self.issue_files(node), SystemTime::now()).unwrap()
    }

    /// What only somebody with the authority's key could make.
    pub(super) fn identity_of_other_cluster(&self, node: u64) -> PeerIdentity {
        let read = |file: &str| fs::read_to_string(self.directory().join(file)).unwrap();
        let authority = KeyPair::from_pem(&read("ca.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), authority).unwrap();
        let name = NodeName { cluster: ClusterId::random(), node };
        let params = CertificateParams::new(vec![name.to_string()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let files = self.issue_files(node);
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        PeerIdentity::load(&files, SystemTime::now()).unwrap()
    }

    /// A socket of node `node`.
    pub(in crate::raft) fn bind(&self, node: u64) -> PeerEndpoint {
        self.bind_identity(&self.identity(node))
    }

    /// A socket that trusts this cluster and shows the certificate in `files`.
    pub(super) fn bind_as(&self, node: u64, files: IdentityFiles) -> PeerEndpoint {
        let mut identity = PeerIdentity::load(&files, SystemTime::now()).unwrap();
        let ours = self.identity(node);
        (identity.roots, identity.name) = (ours.roots, ours.name);
        self.bind_identity(&identity)
    }

    pub(in crate::raft) fn bind_identity(&self, identity: &PeerIdentity) -> PeerEndpoint {
        let anywhere = "127.0.0.1:0".parse().unwrap();
        PeerEndpoint::bind(anywhere, identity, self.directory()).unwrap()
    }

    /// A socket at an address that is being given up.
    pub(super) async fn bind_at(
        &self,
        address: SocketAddr,
        identity: &PeerIdentity,
    ) -> PeerEndpoint {
        within(async {
            loop {
                match PeerEndpoint::bind(address, identity, self.directory()) {
                    Ok(endpoint) => return endpoint,
                    Err(BindError::Taken { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    }
}

/// A connection past the handshake, before the hello.
pub(super) async fn connect_raw(
    endpoint: &PeerEndpoint,
    name: NodeName,
    address: &str,
) -> Connection {
    endpoint.dial_name(address.parse().unwrap(), name).unwrap().await.unwrap()
}

type Answer = Arc<dyn Fn(AppRequest) -> BoxFuture<'static, AppReply> + Send + Sync>;

/// A peer that lets in whom a node lets in, and answers by itself.
pub(super) struct Server {
    pub(super) endpoint: PeerEndpoint,
    pub(super) address: String,
    /// The last stamp that came with an append.
    pub(super) heard: Arc<AtomicU64>,
    refused: mpsc::UnboundedReceiver<Refused>,
    broken: mpsc::UnboundedReceiver<(String, bool)>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) fn start(
        endpoint: PeerEndpoint,
        answer: impl Fn(AppRequest) -> BoxFuture<'static, AppReply> + Send + Sync + 'static,
    ) -> Self {
        let (refuse, refused) = mpsc::unbounded_channel();
        let (broke, broken) = mpsc::unbounded_channel();
        let heard = Arc::new(AtomicU64::new(0));
        let streams = Streams { answer: Arc::new(answer), heard: heard.clone(), broke };
        let task = tokio::spawn(serve(endpoint.clone(), streams, refuse));
        let address = endpoint.local_address().unwrap().to_string();
        Self { endpoint, address, heard, refused, broken, task }
    }

    pub(super) async fn refused(&mut self) -> Refused {
        within(self.refused.recv()).await.unwrap()
    }

    /// What the next broken stream complained of, and whether the peer is to blame.
    pub(super) async fn broken(&mut self) -> (String, bool) {
        within(self.broken.recv()).await.unwrap()
    }

    /// Closes everything, down to the socket.
    pub(super) async fn stop(self) {
        self.endpoint.close(Duration::from_secs(5)).await;
        within(self.task).await.unwrap();
    }
}

/// Passes datagrams between one client and whom it is turned to.
pub(super) struct Relay {
    pub(super) address: String,
    target: Arc<Mutex<SocketAddr>>,
    _task: AbortOnDropHandle<()>,
}

impl Relay {
    pub(super) async fn start(target: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let target = Arc::new(Mutex::new(target));
        let task = tokio::spawn(relay(socket, target.clone()));
        Self { address, target, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn turn_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }
}

async fn relay(socket: UdpSocket, target: Arc<Mutex<SocketAddr>>) {
    let (mut datagram, mut client) = ([0; 65_536], None);
    let mut servers = HashSet::new();
    while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
        let target = *target.lock().unwrap();
        servers.insert(target);
        let to = if from == target {
            client
        } else if servers.contains(&from) {
            None
        } else {
            client = Some(from);
            Some(target)
        };
        if let Some(to) = to {
            let _ = socket.send_to(&datagram[..length], to).await;
        }
    }
}

#[derive(Clone)]
struct Streams {
    answer: Answer,
    heard: Arc<AtomicU64>,
    broke: mpsc::UnboundedSender<(String, bool)>,
}

async fn serve(endpoint: PeerEndpoint, streams: Streams, refuse: mpsc::UnboundedSender<Refused>) {
    while let Some(incoming) = endpoint.accept().await {
        match admit(&endpoint, incoming).await {
            Ok((connection, Entrant::Peer(guest))) => {
                drop(tokio::spawn(streams.clone().serve(connection, guest.node)));
            }
            Ok((_, Entrant::Joiner)) => {}
            Err(refused) => drop(refuse.send(refused)),
        }
    }
}

impl Streams {
    async fn serve(self, connection: Connection, peer: u64) {
        while let Ok(stream) = connection.accept_bi().await {
            let streams = self.clone();
            tokio::spawn(async move {
                if let Err(error) = streams.serve_one(peer, stream).await {
                    let _ = streams.broke.send((error.to_string(), error.is_violation()));
                }
            });
        }
    }

    async fn serve_one(
        &self,
        peer: u64,
        (send, mut recv): (SendStream, RecvStream),
    ) -> Result<(), ServeError> {
        let stop = CancellationToken::new();
        match frames::read_one(&mut recv).await? {
            OpenV1::AppCalls => {
                let answer = |request| (self.answer)(request);
                let busy = |_: &AppRequest| AppReply::ReadIndex(Err(Refusal::Overloaded));
                serve_calls((send, recv), stop, answer, busy).await?;
            }
            OpenV1::RaftCalls => {
                let answer = |request| std::future::ready(grant(request));
                let busy = |_: &_| RaftReplyV1::Unavailable(String::from("busy"));
                serve_calls((send, recv), stop, answer, busy).await?;
            }
            OpenV1::Append => {
                let heard = |stamp: Stamp| self.heard.store(stamp.unix_millis(), Ordering::SeqCst);
                append_stream::serve(peer, (send, recv), heard, match_all).await?;
            }
            OpenV1::Hello(_) | OpenV1::Snapshot(_) => return Err(ServeError::SecondHello),
        }
        Ok(())
    }
}

fn grant(request: RaftRequestV1<'static>) -> RaftReplyV1 {
    match request {
        RaftRequestV1::Vote(request) | RaftRequestV1::PreVote(request) => {
            let VoteRequestV1 { vote, last, .. } = request;
            RaftReplyV1::PreVote(VoteReplyV1 { vote, granted: true, last })
        }
        RaftRequestV1::Append(_) | RaftRequestV1::TransferLeader(_) => {
            RaftReplyV1::Unavailable(String::from("not asked in tests"))
        }
    }
}

/// As openraft answers: a conflict is the last reply.
fn match_all(
    requests: BoxStream<'static, AppendRequest>,
) -> impl Stream<Item = Result<AppendResult, std::convert::Infallible>> {
    requests.scan(true, |open, request| {
        let at = request.prev_log_id;
        let conflict = at.is_some_and(|at| at.index == CONFLICT_AT);
        let reply = match at {
            Some(at) if conflict => Err(StreamAppendError::Conflict(at)),
            at => Ok(at),
        };
        let yielded = std::mem::replace(open, *open && !conflict).then_some(Ok(reply));
        std::future::ready(yielded)
    })
}
