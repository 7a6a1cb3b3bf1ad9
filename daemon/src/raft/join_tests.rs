//! Joining over real sockets: a door with a real machine behind it, and nodes that knock.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quinn::{Connection, ConnectionError, Endpoint, VarInt};
use synckairos_protocol::{
    codec::HEADER_BYTES,
    command::{Command, Stamped},
    event::Answer,
    machine::{LEVEL_NEWEST, Machine},
    time::Stamp,
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    connection::PeerConnection,
    endpoint::{self, Close, NotAPeer, PeerEndpoint},
    frames,
    join_call::{self, NotJoined},
    join_door::{JoinDoor, NotAdmitted, NotLetIn},
    join_messages::{JoinReplyV1, JoinRequestV1, WelcomedV1},
    listener::{Entrant, Refused, admit},
    messages::{HelloV1, OpenV1, PROTOCOL_NEWEST, PROTOCOL_OLDEST},
    transport_tests::harness::{Cluster, within},
};
use crate::{
    members::{
        Showing,
        address::Address,
        home::{Home, Papers, Places},
        token::JoinToken,
    },
    pki::{
        NodeName, ca::ClusterCa, identity::IdentityFiles, identity::PeerIdentity, request::NodeKey,
        tls,
    },
    sessions::refusal::Refusal,
};

const NOW: Stamp = Stamp::from_unix_millis(1_769_846_400_000);
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// What a machine of three members says, at an hour that a test sets.
#[derive(Clone)]
struct Replicated(Arc<Mutex<(Machine, Stamp)>>);

impl Replicated {
    fn new() -> Self {
        let replicated = Self(Arc::new(Mutex::new((Machine::default(), NOW))));
        replicated.apply(Command::SetLevel { level: LEVEL_NEWEST }).unwrap();
        replicated.0.lock().unwrap().0.note_members([1, 2, 3].into(), &[1, 2, 3].into());
        replicated
    }

    fn apply(&self, command: Command) -> Result<Answer, Refusal> {
        let (machine, stamp) = &mut *self.0.lock().unwrap();
        let stamped = Stamped { stamp: *stamp, command };
        machine.apply_one(&stamped, &mut Vec::new()).map_err(Refusal::Rejected)
    }

    fn admit(&self, showing: Showing) -> Result<u64, NotAdmitted> {
        let Showing { token, digest, key, peer, http } = showing;
        let answer = self.apply(Command::AdmitNode { token, digest, key, peer, http })?;
        let Answer::Admitted { node, .. } = answer else { panic!("{answer:?}") };
        Ok(node)
    }

    fn later(&self, millis: u64) {
        self.0.lock().unwrap().1 = Stamp::from_unix_millis(NOW.unix_millis() + millis);
    }

    fn next_node(&self) -> u64 {
        self.0.lock().unwrap().0.roster().next_node()
    }

    /// A token that is good for an hour and names these nodes.
    fn token(&self, cluster: &Cluster, nodes: &[(u64, &Server)]) -> JoinToken {
        let nodes = nodes.iter().map(|(node, server)| (*node, server.address.clone())).collect();
        let pin = ClusterCa::load(cluster.directory()).unwrap().pin();
        let expires_at_ms = NOW.unix_millis() + HOUR_MS;
        let cluster = cluster.name(1).cluster;
        let token = JoinToken::new(cluster, pin, nodes, expires_at_ms).unwrap();
        let expires_at = Stamp::from_unix_millis(expires_at_ms);
        let (id, digest, replaces) = (token.id, token.digest(), None);
        self.apply(Command::CreateToken { id, digest, expires_at, replaces }).unwrap();
        token
    }
}

/// What a door does once the cluster has decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Answer,
    /// The first answer is lost.
    LoseFirst,
}

/// A node that lets others in.
struct Server {
    address: String,
    refused: mpsc::UnboundedReceiver<Refused>,
    /// Peers that came through the same door.
    guests: mpsc::UnboundedReceiver<u64>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    fn start(cluster: &Cluster, node: u64, replicated: &Replicated) -> Self {
        let authority = ClusterCa::load(cluster.directory()).unwrap();
        Self::with(cluster.bind(node), Some(authority), replicated, Then::Answer)
    }

    fn with(
        endpoint: PeerEndpoint,
        authority: Option<ClusterCa>,
        replicated: &Replicated,
        then: Then,
    ) -> Self {
        let address = endpoint.local_address().unwrap().to_string();
        let (refuse, refused) = mpsc::unbounded_channel();
        let (welcome, guests) = mpsc::unbounded_channel();
        let (door, replicated) = (Arc::new(JoinDoor::new(authority)), replicated.clone());
        let lose = Arc::new(Mutex::new(then == Then::LoseFirst));
        let task = tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (door, replicated) = (door.clone(), replicated.clone());
                let (refuse, welcome, lose) = (refuse.clone(), welcome.clone(), lose.clone());
                let endpoint = endpoint.clone();
                tokio::spawn(async move {
                    let connection = match admit(&endpoint, incoming).await {
                        Ok((connection, Entrant::Joiner)) => connection,
                        Ok((connection, Entrant::Peer(guest))) => {
                            let _ = welcome.send(guest.node);
                            connection.closed().await;
                            return;
                        }
                        Err(refused) => return drop(refuse.send(refused)),
                    };
                    let admit = async |showing| {
                        let admitted = replicated.admit(showing);
                        if std::mem::take(&mut *lose.lock().unwrap()) {
                            connection.close(VarInt::from_u32(0), b"lost");
                        }
                        admitted
                    };
                    if let Err(reason) = door.serve(&connection, LEVEL_NEWEST, admit).await {
                        let refused = Refused::NotLetIn(reason);
                        refused.close().connection(&connection, &refused.to_string());
                        let _ = refuse.send(refused);
                    }
                });
            }
        });
        let _task = AbortOnDropHandle::new(task);
        Self { address, refused, guests, _task }
    }

    async fn refused(&mut self) -> Refused {
        within(self.refused.recv()).await.unwrap()
    }
}

/// A node that wants to join.
struct Joiner {
    directory: TempDir,
    places: Places,
}

impl Joiner {
    fn new() -> Self {
        Self::at("10.0.0.4:7400")
    }

    fn at(peer: &str) -> Self {
        let (peer, http): (Address, Address) =
            (peer.parse().unwrap(), "10.0.0.4:3000".parse().unwrap());
        let (peer_listen, http_listen) = (peer.listen(), http.listen());
        let places = Places { peer, http, peer_listen, http_listen };
        Self { directory: tempfile::tempdir().unwrap(), places }
    }

    fn home(&self) -> Home {
        Home::begun(self.directory.path()).unwrap()
    }

    fn key(&self) -> NodeKey {
        self.home().key().unwrap()
    }

    fn request(&self, token: &JoinToken) -> JoinRequestV1 {
        JoinRequestV1 {
            token: token.id,
            secret: token.secret,
            csr: self.key().request().unwrap(),
            peer: self.places.peer.to_string(),
            http: self.places.http.to_string(),
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
        }
    }

    async fn ask(&self, token: &JoinToken) -> Result<WelcomedV1, NotJoined> {
        let places = (&self.places.peer, &self.places.http);
        within(join_call::ask(token, &self.key(), places)).await
    }

    async fn refusal(&self, token: &JoinToken) -> String {
        match self.ask(token).await {
            Err(refused @ NotJoined::Refused(_)) => refused.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// One round of questions.
async fn ask_once(token: &JoinToken, request: &JoinRequestV1) -> Result<WelcomedV1, NotJoined> {
    within(join_call::ask_until(token, request, Instant::now() + Duration::from_millis(400))).await
}

#[tokio::test]
async fn a_node_joins_and_is_a_peer_from_then_on() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let mut server = Server::start(&cluster, 1, &replicated);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let joiner = Joiner::new();
    let welcomed = joiner.ask(&token).await.unwrap();
    assert_eq!((welcomed.node, welcomed.level), (4, LEVEL_NEWEST));
    let WelcomedV1 { certificate, ca, ca_key, .. } = welcomed;
    let name = NodeName { cluster: token.cluster, node: 4 };
    let papers = Papers { certificate, ca, ca_key };
    joiner.home().move_in(name, &token.pin, &papers, &joiner.places).unwrap();

    let files = IdentityFiles::in_directory(&joiner.directory.path().join("tls"));
    let identity = PeerIdentity::load(&files, std::time::SystemTime::now()).unwrap();
    let endpoint = cluster.bind_identity(&identity);
    let _connection = within(PeerConnection::dial(&endpoint, 1, &server.address)).await.unwrap();
    assert_eq!(within(server.guests.recv()).await, Some(4));
}

#[tokio::test]
async fn a_lost_answer_is_given_again() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let authority = ClusterCa::load(cluster.directory()).unwrap();
    let server = Server::with(cluster.bind(1), Some(authority), &replicated, Then::LoseFirst);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let joiner = Joiner::new();
    assert_eq!(joiner.ask(&token).await.unwrap().node, 4);
    // A process that was killed with its answer in hand asks anew.
    assert_eq!(joiner.ask(&token).await.unwrap().node, 4);
    assert_eq!(replicated.next_node(), 5);
    // At another address, or with another key.
    for other in [Joiner::at("10.0.0.5:7400"), Joiner::new()] {
        assert!(other.refusal(&token).await.contains("was used by node 4"));
    }
    assert_eq!(replicated.next_node(), 5);
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_with_the_reason() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let mut server = Server::start(&cluster, 1, &replicated);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let joiner = Joiner::new();
    let forged = JoinToken { secret: [9; 32], ..token.clone() };
    let unknown = JoinToken { id: [9; 16], ..token.clone() };
    for token in [forged, unknown] {
        let told = joiner.refusal(&token).await;
        assert!(told.contains("not known") && told.contains("token create"), "{told}");
        assert!(matches!(server.refused().await, Refused::NotLetIn(NotLetIn::Refused(_))));
    }
    replicated.later(HOUR_MS);
    let told = joiner.refusal(&token).await;
    assert!(told.contains("expired") && told.contains("token create"), "{told}");
    assert_eq!(replicated.next_node(), 4);
}

#[tokio::test]
async fn only_the_clusters_own_nodes_hear_the_secret() {
    let (cluster, other, replicated) = (Cluster::new(), Cluster::new(), Replicated::new());
    let mut server = Server::start(&cluster, 1, &replicated);
    let mut stranger = Server::start(&other, 1, &replicated);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let elsewhere = JoinToken { nodes: vec![(1, stranger.address.clone())], ..token.clone() };
    let wrong_pin = JoinToken { pin: [7; 32], ..token.clone() };
    let wrong_node = JoinToken { nodes: vec![(2, server.address.clone())], ..token.clone() };
    let joiner = Joiner::new();
    for wrong in [&elsewhere, &wrong_pin, &wrong_node] {
        match joiner.ask(wrong).await {
            Err(NotJoined::Strangers { failures }) => {
                assert!(failures.contains("does not prove"), "{failures}");
            }
            told => panic!("{told:?}"),
        }
    }
    assert!(matches!(stranger.refused().await, Refused::Handshake(_)));
    for _ in [&wrong_pin, &wrong_node] {
        assert!(matches!(server.refused().await, Refused::Handshake(_)));
    }
    assert_eq!(replicated.next_node(), 4);
    // One stranger among the nodes is no reason to give up.
    let nodes = [elsewhere.nodes.clone(), token.nodes.clone()].concat();
    assert_eq!(joiner.ask(&JoinToken { nodes, ..token }).await.unwrap().node, 4);
}

#[tokio::test]
async fn a_node_that_cannot_issue_sends_the_joiner_to_the_next() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let keyless = Server::with(cluster.bind(1), None, &replicated, Then::Answer);
    let token = replicated.token(&cluster, &[(1, &keyless)]);
    let joiner = Joiner::new();
    match ask_once(&token, &joiner.request(&token)).await {
        Err(NotJoined::Nobody { failures }) => {
            assert!(failures.contains("node 1 at") && failures.contains("peer.ca_key"));
        }
        told => panic!("{told:?}"),
    }
    let server = Server::start(&cluster, 2, &replicated);
    let nodes = vec![(1, keyless.address.clone()), (2, server.address.clone())];
    assert_eq!(joiner.ask(&JoinToken { nodes, ..token }).await.unwrap().node, 4);
}

#[tokio::test]
async fn what_cannot_become_a_node_uses_up_no_token() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let server = Server::start(&cluster, 1, &replicated);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let good = Joiner::new().request(&token);
    let mut unsigned = good.csr.clone();
    *unsigned.last_mut().unwrap() ^= 1;
    let version = env!("CARGO_PKG_VERSION");
    let table = [
        (JoinRequestV1 { newest: 1, ..good.clone() }, version),
        (JoinRequestV1 { oldest: 900, newest: 901, ..good.clone() }, version),
        (JoinRequestV1 { csr: unsigned, ..good.clone() }, "not signed"),
        (JoinRequestV1 { csr: Vec::new(), ..good.clone() }, "cannot be read"),
        (JoinRequestV1 { peer: String::from("nowhere"), ..good.clone() }, "HOST:PORT"),
        (JoinRequestV1 { http: "a".repeat(400) + ":1", ..good.clone() }, "HOST:PORT"),
    ];
    for (request, complaint) in table {
        match ask_once(&token, &request).await {
            Err(NotJoined::Refused(told)) => assert!(told.contains(complaint), "{told}"),
            told => panic!("{complaint}: {told:?}"),
        }
    }
    assert_eq!(replicated.next_node(), 4);
    let newer = JoinRequestV1 { newest: 900, ..good };
    assert_eq!(ask_once(&token, &newer).await.unwrap().node, 4);
}

/// A connection that may only join, and says nothing by itself.
async fn knock(token: &JoinToken) -> Connection {
    let config = endpoint::joining(token.pin).unwrap();
    knock_with(token, config).await
}

async fn knock_with(token: &JoinToken, config: quinn::ClientConfig) -> Connection {
    let (node, address) = &token.nodes[0];
    let name = NodeName { cluster: token.cluster, node: *node }.to_string();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, address.parse().unwrap(), &name).unwrap();
    within(connecting).await.unwrap()
}

async fn close_of(connection: &Connection) -> (u64, String) {
    let closed = within(connection.closed()).await;
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
    (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
}

#[tokio::test]
async fn few_may_knock_at_a_time_and_not_for_long() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let mut server = Server::start(&cluster, 1, &replicated);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let mut knocking = Vec::new();
    for _ in 0..5 {
        knocking.push(knock(&token).await);
    }
    // Whichever came last.
    assert!(matches!(server.refused().await, Refused::NotLetIn(NotLetIn::Busy)));
    // Peers come in all the same.
    let peer = cluster.bind(2);
    let _connection = within(PeerConnection::dial(&peer, 1, &server.address)).await.unwrap();
    assert_eq!(within(server.guests.recv()).await, Some(2));
    let mut codes = Vec::new();
    for connection in &knocking {
        codes.push(close_of(connection).await.0);
    }
    codes.sort_unstable();
    let (slow, busy) = (Close::Violation as u64, Close::Busy as u64);
    assert_eq!(codes, [slow, slow, slow, slow, busy]);
    for _ in 0..4 {
        assert!(matches!(server.refused().await, Refused::NotLetIn(NotLetIn::TimedOut)));
    }
    // Then there is room again.
    assert_eq!(Joiner::new().ask(&token).await.unwrap().node, 4);
}

#[tokio::test]
async fn whoever_may_only_join_can_do_nothing_else() {
    let (cluster, replicated) = (Cluster::new(), Replicated::new());
    let mut server = Server::start(&cluster, 1, &replicated);
    let token = replicated.token(&cluster, &[(1, &server)]);
    let hello = OpenV1::Hello(HelloV1 {
        cluster: token.cluster.to_bytes(),
        from: 2,
        to: 1,
        oldest: PROTOCOL_OLDEST,
        newest: PROTOCOL_NEWEST,
    });
    let hello = frames::encode(&hello).unwrap();
    let mut large = vec![0; HEADER_BYTES];
    large[6..10].copy_from_slice(&1_000_000_u32.to_le_bytes());
    for (bytes, complaint) in [(&hello[..], "JoinRequest expected"), (&large, "at most")] {
        let connection = knock(&token).await;
        let (mut send, _recv) = within(connection.open_bi()).await.unwrap();
        within(send.write_all(bytes)).await.unwrap();
        let (code, reason) = close_of(&connection).await;
        assert_eq!(code, Close::Violation as u64);
        assert!(reason.contains(complaint), "{reason}");
        assert!(matches!(server.refused().await, Refused::NotLetIn(NotLetIn::Frame(_))));
    }

    // Without a certificate there is no way around the question who it is.
    let mut as_peer = tls::joining(token.pin).unwrap();
    as_peer.alpn_protocols = vec![tls::ALPN.to_vec()];
    let as_peer = quinn::crypto::rustls::QuicClientConfig::try_from(as_peer).unwrap();
    let connection = knock_with(&token, quinn::ClientConfig::new(Arc::new(as_peer))).await;
    let (code, reason) = close_of(&connection).await;
    assert_eq!(code, Close::WrongPeer as u64);
    assert!(reason.contains("no certificate"), "{reason}");
    assert!(matches!(server.refused().await, Refused::NotAPeer(NotAPeer::Anonymous)));
}

#[test]
fn messages_keep_their_bytes_and_their_secrets() {
    let request = JoinRequestV1 {
        token: [1; 16],
        secret: [0xab; 32],
        csr: vec![3; 4],
        peer: String::from("a:1"),
        http: String::from("b:2"),
        oldest: 1,
        newest: 300,
    };
    let welcome = JoinReplyV1::Welcome(WelcomedV1 {
        node: 300,
        certificate: String::from("certificate"),
        ca: String::from("authority"),
        ca_key: String::from("secret key"),
        level: 2,
    });
    let message = String::from("why");
    let refused = JoinReplyV1::Refused { message, retryable: true };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let table = [
        (
            frames::encode(&request),
            "534b1301000041000000b7086d13\
             01010101010101010101010101010101\
             abababababababababababababababababababababababababababababababab\
             040303030303613a3103623a3201fb2c01",
        ),
        (
            frames::encode(&welcome),
            "534b140100002600000005c0aea2\
             00fb2c010b636572746966696361746509617574686f726974790a736563726574206b657902",
        ),
        (frames::encode(&refused), "534b140100000600000021f15d07010377687901"),
    ];
    for (encoded, golden) in table {
        assert_eq!(hex(&encoded.unwrap()), golden, "is this a change of the protocol?");
    }
    let printed = format!("{request:?} {welcome:?}");
    assert!(!printed.contains("171") && !printed.contains("secret"), "{printed}");
}
