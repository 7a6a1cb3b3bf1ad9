//! The peers' door: who may come in, and which stream goes where.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::{Connection, Incoming, RecvStream, SendStream};
use synckairos_protocol::machine::Machine;
use synckairos_raft_store::snapshot_file::SnapshotInbox;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Raft,
    candidacy::Outrun,
    clock::ClusterClock,
    connection::Priority,
    endpoint::{Close, NotAPeer, PeerEndpoint},
    frames::{self, FrameError},
    join_door::{JoinDoor, NotLetIn},
    messages::{HelloV1, OpenV1, PROTOCOL_NEWEST, PROTOCOL_OLDEST, WelcomeV1},
    peers::Peers,
    service::{ServeError, Service, Unfit},
    standing::Standing,
};
use crate::{
    disk::Disk,
    health::report::Reporter,
    members::{Members, removal},
    pki::ClusterId,
    sessions::Sessions,
};

/// Handshake and hello together.
const ADMIT_MAX: Duration = Duration::from_secs(2);
/// Connections at a time, those being refused included. Clusters have at most seven nodes or so.
const CONNECTIONS_MAX: usize = 64;
/// Streams may take so long to end when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Refusals that are remembered so that each is logged once.
const REFUSALS_LOGGED_MAX: usize = 256;

/// How often a connection is looked at, whether its node is still a member.
const RETIRED_LOOK_EVERY: Duration = Duration::from_millis(250);
const REMOVED: &str = "the node was removed from the cluster";

/// Those who answer peers.
pub(crate) struct PeerService {
    pub(crate) raft: Raft,
    pub(crate) standing: Standing,
    pub(crate) sessions: Sessions,
    pub(crate) clock: ClusterClock,
    pub(crate) peers: Peers,
    /// Where snapshots from peers go.
    pub(crate) inbox: SnapshotInbox,
    /// Told why this node cannot go on, when a peer sends what only a newer version can read.
    pub(crate) unfit: watch::Sender<Option<Unfit>>,
    pub(crate) disk: Disk,
    pub(crate) outrun: Outrun,
    pub(crate) reporter: Reporter,
    pub(crate) members: Members,
    /// For nodes that are no members yet.
    pub(crate) joining: JoinDoor,
}

/// A connection that was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the handshake failed: {0}")]
    Handshake(#[from] quinn::ConnectionError),
    #[error(transparent)]
    NotAPeer(#[from] NotAPeer),
    #[error("its hello is for cluster {0}")]
    OtherCluster(ClusterId),
    #[error("its hello is from node {claimed}, its certificate of node {proven}")]
    Impostor { claimed: u64, proven: u64 },
    #[error("its hello is for node {0}")]
    Misdirected(u64),
    #[error("it speaks versions {oldest} to {newest} of the peer protocol")]
    Version { oldest: u16, newest: u16 },
    #[error("it said no hello: {0}")]
    NoHello(#[from] FrameError),
    #[error("it took more than {} s to introduce itself", ADMIT_MAX.as_secs())]
    TimedOut,
    #[error("it wants to join: {0}")]
    NotLetIn(#[from] NotLetIn),
}

impl Refused {
    pub(super) fn close(&self) -> Close {
        match self {
            Self::Version { .. } => Close::Version,
            Self::NotLetIn(reason) => reason.close(),
            Self::NoHello(_) | Self::TimedOut => Close::Violation,
            Self::Handshake(_)
            | Self::NotAPeer(_)
            | Self::OtherCluster(_)
            | Self::Impostor { .. }
            | Self::Misdirected(_) => Close::WrongPeer,
        }
    }
}

/// Serves peers until `stop` is cancelled or the endpoint is closed. Calls that are being answered
/// then still get their replies, for at most a second.
pub(crate) async fn run(endpoint: PeerEndpoint, service: PeerService, stop: CancellationToken) {
    let door = Arc::new(Door {
        endpoint,
        service: Arc::new(Service::new(service)),
        stop,
        inside: Mutex::default(),
        refusals_logged: Mutex::default(),
    });
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            () = door.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            incoming = door.endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        if connections.len() < CONNECTIONS_MAX {
            connections.spawn(door.clone().serve(incoming));
        } else {
            incoming.refuse();
        }
    }
    let drained = timeout(DRAIN_MAX, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "connections of peers were cut short");
    }
}

struct Door {
    endpoint: PeerEndpoint,
    service: Arc<Service>,
    stop: CancellationToken,
    /// The newest connection from each peer.
    inside: Mutex<HashMap<u64, Connection>>,
    refusals_logged: Mutex<HashSet<(IpAddr, String)>>,
}

impl Door {
    async fn serve(self: Arc<Self>, incoming: Incoming) {
        let remote = incoming.remote_address();
        let served = match admit(&self.endpoint, incoming).await {
            Ok((connection, Entrant::Peer(guest))) => {
                tracing::info!(node = guest.node, %remote, "a peer connected");
                self.serve_peer(&connection, guest).await;
                Ok(())
            }
            Ok((connection, Entrant::Joiner)) => self.serve_joiner(&connection).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = served
            && self.is_news(remote.ip(), &refused)
        {
            tracing::warn!(%remote, reason = %refused, "refused a connection to the peer port");
        }
    }

    async fn serve_peer(&self, connection: &Connection, guest: Guest) {
        let peer = guest.node;
        if self.is_retired(peer) {
            Close::Removed.connection(connection, REMOVED);
            return;
        }
        self.service.handles.peers.revive(peer, guest.newest);
        self.replace(peer, connection);
        self.serve_streams(connection, guest).await;
        self.leave(peer, connection);
    }

    /// Answers a node that wants to become a peer, and closes its connection.
    async fn serve_joiner(&self, connection: &Connection) -> Result<(), Refused> {
        let PeerService { members, joining, reporter, .. } = &self.service.handles;
        let level = reporter.applied.read(Machine::level);
        let admit = |showing| async { Ok(members.admit(showing).await?.node) };
        let served = tokio::select! {
            () = self.stop.cancelled() => {
                Close::Stopping.connection(connection, "the node is stopping");
                return Ok(());
            }
            served = joining.serve(connection, level, admit) => served,
        };
        match served {
            Ok(node) => {
                tracing::info!(node, "let a node into the cluster");
                Close::Forgotten.connection(connection, "answered");
                Ok(())
            }
            Err(refused) => {
                let refused = Refused::from(refused);
                refused.close().connection(connection, &refused.to_string());
                Err(refused)
            }
        }
    }

    /// A node dials anew when it lost its connection: the older one is a ghost.
    fn replace(&self, peer: u64, connection: &Connection) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = inside.insert(peer, connection.clone()) {
            Close::Superseded.connection(&older, "the node opened a newer connection");
        }
    }

    fn leave(&self, peer: u64, connection: &Connection) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.get(&peer).is_some_and(|now| now.stable_id() == connection.stable_id()) {
            inside.remove(&peer);
        }
    }

    async fn serve_streams(&self, connection: &Connection, guest: Guest) {
        let peer = guest.node;
        let mut streams = JoinSet::new();
        let mut looks = interval(RETIRED_LOOK_EVERY);
        loop {
            let stream = tokio::select! {
                () = self.stop.cancelled() => break,
                _ = looks.tick() => {
                    if self.is_retired(peer) {
                        Close::Removed.connection(connection, REMOVED);
                        break;
                    }
                    continue;
                }
                Some(_) = streams.join_next() => continue,
                stream = connection.accept_bi() => stream,
            };
            let stream = match stream {
                Ok(stream) => stream,
                Err(ended) => {
                    if Close::Removed.is_why(&ended) {
                        self.service.handles.peers.removed().note();
                    }
                    self.service.note_log_lost(&ended);
                    break;
                }
            };
            let (service, stop) = (self.service.clone(), self.stop.clone());
            let connection = connection.clone();
            streams.spawn(async move {
                let Err(error) = serve_stream(&service, guest, stream, stop).await else { return };
                service.note_unreadable(&error);
                if error.is_violation() {
                    tracing::warn!(node = peer, %error, "a peer broke the protocol");
                    Close::Violation.connection(&connection, &error.to_string());
                } else {
                    tracing::debug!(node = peer, %error, "a stream of a peer ended");
                }
            });
        }
        while self.stop.is_cancelled() && streams.join_next().await.is_some() {}
        Close::Stopping.connection(connection, "the node is stopping");
    }

    fn is_retired(&self, peer: u64) -> bool {
        removal::is_retired(&self.service.handles.reporter.applied, peer)
    }

    fn is_news(&self, remote: IpAddr, refused: &Refused) -> bool {
        let mut logged = self.refusals_logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() == REFUSALS_LOGGED_MAX {
            logged.clear();
        }
        // What a stranger wrote must not make every one of its tries a new one.
        let reason = if matches!(refused, Refused::NotLetIn(_)) {
            String::from("not let in")
        } else {
            refused.to_string()
        };
        logged.insert((remote, reason))
    }
}

async fn serve_stream(
    service: &Arc<Service>,
    guest: Guest,
    (send, mut recv): (SendStream, RecvStream),
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let purpose = frames::read_one(&mut recv).await?;
    let (stream, peer) = ((send, recv), guest.node);
    match purpose {
        OpenV1::Hello(_) => Err(ServeError::SecondHello),
        OpenV1::Append => service.append(peer, stream, stop).await,
        OpenV1::RaftCalls => service.raft_calls(peer, stream, stop).await,
        OpenV1::AppCalls => service.app_calls(guest.newest, stream, stop).await,
        OpenV1::Snapshot(head) => service.snapshot(peer, head, stream, stop).await,
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    pub(crate) node: u64,
    /// The newest version of the peer protocol that it speaks.
    pub(crate) newest: u16,
}

/// Who came through the door.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrant {
    Peer(Guest),
    /// Proves nothing yet, and may only ask to become a peer.
    Joiner,
}

/// Completes a handshake and the hello after it. Returns the connection and who is at its end.
///
/// # Errors
/// [`Refused`]; the connection is closed then, with the reason.
pub(crate) async fn admit(
    endpoint: &PeerEndpoint,
    incoming: Incoming,
) -> Result<(Connection, Entrant), Refused> {
    let admitting = async {
        let connection = incoming.await?;
        if PeerEndpoint::is_joining(&connection) {
            return Ok((connection, Entrant::Joiner));
        }
        match welcome(endpoint, &connection).await {
            Ok(guest) => Ok((connection, Entrant::Peer(guest))),
            Err(refused) => {
                refused.close().connection(&connection, &refused.to_string());
                Err(refused)
            }
        }
    };
    timeout(ADMIT_MAX, admitting).await.unwrap_or(Err(Refused::TimedOut))
}

async fn welcome(endpoint: &PeerEndpoint, connection: &Connection) -> Result<Guest, Refused> {
    let proven = endpoint.peer_of(connection)?;
    let (mut send, mut recv) = connection.accept_bi().await?;
    Priority::RaftCalls.set(&send);
    let OpenV1::Hello(hello) = frames::read_one(&mut recv).await? else {
        return Err(Refused::NoHello(FrameError::Ended));
    };
    let HelloV1 { cluster, from, to, oldest, newest } = hello;
    let cluster = ClusterId::from_bytes(cluster);
    if cluster != endpoint.name().cluster {
        return Err(Refused::OtherCluster(cluster));
    }
    if from != proven {
        return Err(Refused::Impostor { claimed: from, proven });
    }
    if to != endpoint.name().node {
        return Err(Refused::Misdirected(to));
    }
    let protocol = newest.min(PROTOCOL_NEWEST);
    if protocol < oldest || protocol < PROTOCOL_OLDEST {
        return Err(Refused::Version { oldest, newest });
    }
    frames::write(&mut send, &WelcomeV1 { protocol }).await?;
    let _ = send.finish();
    Ok(Guest { node: proven, newest })
}
