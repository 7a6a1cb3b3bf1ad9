//! Faults on real sockets.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;
use crate::env::fault::{ClientImpairment, Impairment, Link, Packets, Streams};

/// Longer than anything takes that is expected to happen.
const WITHIN: Duration = Duration::from_secs(20);
/// Longer than a packet takes on loopback.
const SILENCE: Duration = Duration::from_millis(300);

/// Two nodes, as far as packets are concerned: `n1` has opened a connection to `n2`.
struct Pair {
    network: Loopback,
    one: UdpSocket,
    other: UdpSocket,
    /// Where `one` finds `other`, and where `other` saw `one` last.
    forth: SocketAddr,
    back: SocketAddr,
}

impl Pair {
    async fn new() -> Self {
        let network = Loopback::new().unwrap();
        let places = ["n1", "n2"].map(|name| network.add(name).unwrap());
        let one = UdpSocket::bind(places[0].peer_listen).await.unwrap();
        let other = UdpSocket::bind(places[1].peer_listen).await.unwrap();
        let forth = places[1].peer;
        let mut pair = Self { network, one, other, forth, back: forth };
        pair.one.send_to(b"hello", forth).await.unwrap();
        let mut buffer = [0; 100];
        pair.back = timeout(WITHIN, pair.other.recv_from(&mut buffer)).await.unwrap().unwrap().1;
        pair.answer(b"hello").await;
        assert_eq!(pair.heard_by_one(WITHIN).await.unwrap(), b"hello");
        pair
    }

    fn impair(&self, id: u64, links: &[(&str, &str)], impairments: &[Impairment]) {
        let links = links.iter().map(|(from, to)| Link::new(from, to)).collect();
        self.network.impair(&LinkFault { id, seed: 3, links, impairments: impairments.to_vec() });
    }

    fn heal(&self, id: u64, (from, to): (&str, &str)) -> Packets {
        self.network.heal(id).links[&Link::new(from, to)]
    }

    async fn ask(&self, bytes: &[u8]) {
        self.one.send_to(bytes, self.forth).await.unwrap();
    }

    async fn answer(&self, bytes: &[u8]) {
        self.other.send_to(bytes, self.back).await.unwrap();
    }

    async fn heard_by_one(&self, within: Duration) -> Option<Vec<u8>> {
        heard(&self.one, within).await
    }

    async fn heard_by_other(&self, within: Duration) -> Option<Vec<u8>> {
        heard(&self.other, within).await
    }

    /// Something gets through in both directions.
    async fn assert_whole(&self) {
        self.ask(b"ping").await;
        assert_eq!(self.heard_by_other(WITHIN).await.unwrap(), b"ping");
        self.answer(b"pong").await;
        assert_eq!(self.heard_by_one(WITHIN).await.unwrap(), b"pong");
    }
}

async fn heard(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    let (length, _) = timeout(within, socket.recv_from(&mut buffer)).await.ok()?.unwrap();
    buffer.truncate(length);
    Some(buffer)
}

const FORTH: (&str, &str) = ("n1", "n2");
const BACK: (&str, &str) = ("n2", "n1");

#[tokio::test]
async fn a_cut_link_is_one_way_whoever_opened_the_connection() {
    let pair = Pair::new().await;
    pair.impair(1, &[BACK], &[Impairment::Drop]);
    pair.ask(b"heard").await;
    assert_eq!(pair.heard_by_other(WITHIN).await.unwrap(), b"heard");
    pair.answer(b"lost").await;
    assert_eq!(pair.heard_by_one(SILENCE).await, None);
    assert_eq!(pair.heal(1, BACK), Packets { dropped: 1, ..Packets::default() });
    pair.assert_whole().await;

    pair.impair(2, &[FORTH], &[Impairment::Drop]);
    pair.ask(b"lost").await;
    assert_eq!(pair.heard_by_other(SILENCE).await, None);
    pair.answer(b"heard").await;
    assert_eq!(pair.heard_by_one(WITHIN).await.unwrap(), b"heard");
    assert_eq!(pair.network.effect(2).packets().dropped, 1);
    pair.network.heal_all();
    pair.assert_whole().await;
    assert_eq!(pair.network.heal(2), Effect::default());
}

#[tokio::test]
async fn a_node_that_comes_later_is_known_and_strangers_pass() {
    let pair = Pair::new().await;
    let place = pair.network.add("n3").unwrap();
    let late = UdpSocket::bind(place.peer_listen).await.unwrap();
    pair.impair(1, &[("n3", "n2"), FORTH], &[Impairment::Drop]);
    late.send_to(b"lost", pair.forth).await.unwrap();
    let stranger = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    stranger.send_to(b"let me in", pair.forth).await.unwrap();
    assert_eq!(pair.heard_by_other(WITHIN).await.unwrap(), b"let me in");
    assert_eq!(pair.heard_by_other(SILENCE).await, None);
    assert_eq!(pair.heal(1, ("n3", "n2")).dropped, 1);
    late.send_to(b"heard", pair.forth).await.unwrap();
    assert_eq!(pair.heard_by_other(WITHIN).await.unwrap(), b"heard");
}

#[tokio::test]
async fn packets_are_late_and_in_another_order() {
    let pair = Pair::new().await;
    pair.impair(1, &[FORTH], &[Impairment::Delay { mean_ms: 150, jitter_ms: 0 }]);
    let sent = Instant::now();
    for number in 0..10 {
        pair.ask(&[number]).await;
    }
    for number in 0..10 {
        assert_eq!(pair.heard_by_other(WITHIN).await.unwrap(), [number]);
    }
    assert!(Duration::from_millis(150) <= sent.elapsed(), "{:?}", sent.elapsed());
    assert_eq!(pair.heal(1, FORTH).delayed, 10);

    pair.impair(2, &[FORTH], &[Impairment::Reorder { percent: 50, hold_ms: 100 }]);
    let mut order = Vec::new();
    for number in 0..20 {
        pair.ask(&[number]).await;
    }
    for _ in 0..20 {
        order.push(pair.heard_by_other(WITHIN).await.unwrap()[0]);
    }
    assert!(!order.is_sorted(), "{order:?}");
    order.sort_unstable();
    assert_eq!(order, (0..20).collect::<Vec<u8>>());
    assert!(0 < pair.heal(2, FORTH).reordered);
    pair.assert_whole().await;
}

#[tokio::test]
async fn packets_are_doubled_damaged_lost_and_too_large() {
    let pair = Pair::new().await;
    pair.impair(1, &[BACK], &[Impairment::Duplicate { percent: 100 }]);
    pair.answer(b"twice").await;
    for _ in 0..2 {
        assert_eq!(pair.heard_by_one(WITHIN).await.unwrap(), b"twice");
    }
    assert_eq!(pair.heal(1, BACK), Packets { passed: 1, duplicated: 1, ..Packets::default() });

    pair.impair(2, &[BACK], &[Impairment::Corrupt { percent: 100 }]);
    let whole = [0x55; 600];
    pair.answer(&whole).await;
    let damaged = pair.heard_by_one(WITHIN).await.unwrap();
    assert_eq!(damaged.len(), whole.len());
    let differ = damaged.iter().filter(|byte| **byte != 0x55).count();
    assert!((1..=8).contains(&differ), "{differ}");
    assert_eq!(pair.heal(2, BACK).corrupted, 1);

    pair.impair(3, &[BACK], &[Impairment::Mtu { bytes: 1_200 }]);
    pair.answer(&[0; 1_201]).await;
    pair.answer(&[0; 1_200]).await;
    assert_eq!(pair.heard_by_one(WITHIN).await.unwrap().len(), 1_200);
    assert_eq!(pair.heal(3, BACK), Packets { passed: 1, dropped: 1, ..Packets::default() });

    pair.impair(4, &[BACK], &[Impairment::Loss { percent: 50 }]);
    for number in 0..100 {
        pair.answer(&[number]).await;
    }
    let mut heard = 0;
    while pair.heard_by_one(SILENCE).await.is_some() {
        heard += 1;
    }
    let counts = pair.heal(4, BACK);
    assert_eq!((counts.passed, counts.dropped), (heard, 100 - heard));
    assert!((20..80).contains(&heard), "{heard}");
    pair.assert_whole().await;
}

#[tokio::test]
async fn little_bandwidth_makes_packets_wait_and_overflows() {
    let pair = Pair::new().await;
    // A packet of 1,000 bytes takes 80 ms.
    pair.impair(1, &[FORTH], &[Impairment::Rate { kbit: 100, queue_ms: 300 }]);
    let sent = Instant::now();
    for number in 0..10 {
        pair.ask(&[number; 1_000]).await;
    }
    let mut heard = Vec::new();
    while let Some(packet) = pair.heard_by_other(Duration::from_secs(1)).await {
        heard.push(packet[0]);
        let earliest = Duration::from_millis(80) * u32::try_from(heard.len()).unwrap();
        assert!(earliest <= sent.elapsed() + Duration::from_millis(20), "{:?}", sent.elapsed());
    }
    assert!(heard.is_sorted() && (4..10).contains(&heard.len()), "{heard:?}");
    let counts = pair.heal(1, FORTH);
    assert_eq!(counts.dropped, 10 - u64::try_from(heard.len()).unwrap());
    pair.assert_whole().await;
}

#[tokio::test]
async fn a_talker_moves_to_another_address() {
    let mut pair = Pair::new().await;
    pair.impair(1, &[FORTH], &[Impairment::Migrate { every_ms: 600_000 }]);
    pair.ask(b"moved").await;
    let mut buffer = [0; 100];
    let moved = timeout(WITHIN, pair.other.recv_from(&mut buffer)).await.unwrap().unwrap().1;
    assert_ne!(moved, pair.back);
    pair.answer(b"to nobody").await;
    assert_eq!(pair.heard_by_one(SILENCE).await, None);
    pair.back = moved;
    pair.assert_whole().await;
    assert_eq!(pair.heal(1, FORTH).migrated, 1);
}

#[tokio::test]
async fn faults_on_one_link_are_healed_one_by_one() {
    let pair = Pair::new().await;
    pair.impair(1, &[FORTH, BACK], &[Impairment::Drop]);
    pair.impair(2, &[FORTH], &[Impairment::Delay { mean_ms: 100, jitter_ms: 0 }]);
    assert_eq!(pair.network.heal(1).links.len(), 2);
    let sent = Instant::now();
    pair.assert_whole().await;
    assert!(Duration::from_millis(100) <= sent.elapsed());
    pair.heal(2, FORTH);
    pair.assert_whole().await;
}

/// A node, as far as clients are concerned: it sends back what it gets.
struct Server {
    network: Loopback,
    place: Place,
    echo: JoinHandle<()>,
}

impl Server {
    async fn new() -> Self {
        let network = Loopback::new().unwrap();
        let place = network.add("n1").unwrap();
        let echo = tokio::spawn(echo(TcpListener::bind(place.http_listen).await.unwrap()));
        Self { network, place, echo }
    }

    fn impair(&self, id: u64, impairment: ClientImpairment) {
        let nodes = BTreeSet::from([String::from("n1")]);
        self.network.impair_clients(&ClientFault { id, seed: 3, nodes, impairment });
    }

    fn heal(&self, id: u64) -> Streams {
        self.network.heal(id).clients["n1"]
    }

    /// The door opens a moment after the node listens.
    async fn client(&self) -> TcpStream {
        let deadline = Instant::now() + WITHIN;
        loop {
            match TcpStream::connect(self.place.http).await {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    async fn refuses(&self) {
        let deadline = Instant::now() + WITHIN;
        while TcpStream::connect(self.place.http).await.is_ok() {
            assert!(Instant::now() < deadline, "the door stays open");
        }
    }
}

async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

async fn says(client: &mut TcpStream, word: &[u8]) {
    client.write_all(word).await.unwrap();
}

async fn hears(client: &mut TcpStream, word: &[u8]) {
    let mut buffer = vec![0; word.len()];
    timeout(WITHIN, client.read_exact(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer, word);
}

async fn hears_nothing(client: &mut TcpStream) {
    assert!(timeout(SILENCE, client.read_u8()).await.is_err());
}

async fn is_reset(client: &mut TcpStream) {
    let error = timeout(WITHIN, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_off_client_is_reset_then_refused_then_let_in() {
    let server = Server::new().await;
    let mut client = server.client().await;
    says(&mut client, b"hello").await;
    hears(&mut client, b"hello").await;
    server.impair(1, ClientImpairment::Cut);
    is_reset(&mut client).await;
    server.refuses().await;
    // The harness is not cut off.
    TcpStream::connect(server.place.control).await.unwrap();
    assert_eq!(server.heal(1), Streams { reset: 1, ..Streams::default() });
    let mut client = server.client().await;
    says(&mut client, b"again").await;
    hears(&mut client, b"again").await;
    client.shutdown().await.unwrap();
    assert_eq!(timeout(WITHIN, client.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn clients_are_refused_while_the_node_is_down() {
    let server = Server::new().await;
    drop(server.client().await);
    server.echo.abort();
    server.refuses().await;
    let listener = TcpListener::bind(server.place.http_listen).await.unwrap();
    tokio::spawn(echo(listener));
    let mut client = server.client().await;
    says(&mut client, b"back").await;
    hears(&mut client, b"back").await;
}

#[tokio::test]
async fn hanging_connections_go_on_where_they_stopped() {
    for (requests, answers) in [(true, false), (false, true), (true, true)] {
        let server = Server::new().await;
        let mut client = server.client().await;
        says(&mut client, b"one").await;
        hears(&mut client, b"one").await;
        server.impair(1, ClientImpairment::Hang { requests, answers });
        says(&mut client, b"two").await;
        hears_nothing(&mut client).await;
        // New ones come about, and hang as well.
        let mut other = server.client().await;
        says(&mut other, b"three").await;
        hears_nothing(&mut other).await;
        assert_eq!(server.heal(1), Streams { held: 2, ..Streams::default() });
        hears(&mut client, b"two").await;
        hears(&mut other, b"three").await;
    }
}

#[tokio::test]
async fn slow_connections_carry_little() {
    let server = Server::new().await;
    let mut client = server.client().await;
    server.impair(1, ClientImpairment::Slow { kbit: 80 });
    let sent = Instant::now();
    let word = [7; 2_000];
    says(&mut client, &word).await;
    hears(&mut client, &word).await;
    // 10 bytes a millisecond; both ways at once but for the first part.
    assert!(Duration::from_millis(200) <= sent.elapsed(), "{:?}", sent.elapsed());
    assert!(2_000 < server.heal(1).slowed_bytes);
}

#[tokio::test]
async fn a_connection_ends_after_the_request_and_before_the_answer() {
    let network = Loopback::new().unwrap();
    let place = network.add("n1").unwrap();
    let listener = TcpListener::bind(place.http_listen).await.unwrap();
    let server = Server { network, place, echo: tokio::spawn(async {}) };
    let mut client = server.client().await;
    server.impair(1, ClientImpairment::KillBeforeAnswer { percent: 100 });
    says(&mut client, b"request").await;
    // Connections of the door itself, to see whether the node listens, come first.
    let mut node = loop {
        let (mut node, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
        let mut buffer = [0; 7];
        if timeout(WITHIN, node.read_exact(&mut buffer)).await.unwrap().is_ok() {
            assert_eq!(&buffer, b"request");
            break node;
        }
    };
    says(&mut node, b"answer").await;
    is_reset(&mut client).await;
    assert_eq!(server.heal(1), Streams { killed: 1, ..Streams::default() });
}
