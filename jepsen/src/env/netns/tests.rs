//! Faults between real namespaces, where this machine has them.

use std::{
    fs::{self, File},
    net::UdpSocket as StdUdpSocket,
    os::fd::AsFd,
    process::Child,
    thread,
};

use rustix::{
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::{net::UdpSocket, time::timeout};

use super::*;
use crate::{
    db::process::signal_process,
    env::{
        enter::{Needs, command},
        probe::{self, Capability},
    },
};

const WITHIN: Duration = Duration::from_secs(20);
/// Longer than a packet takes.
const SILENCE: Duration = Duration::from_millis(300);
const NEEDS: Needs = Needs { network: true, mounts: true };

/// Runs the test of this name again in namespaces of its own, or says why not. Returns true where
/// this is that other run.
fn is_inside(test: &str) -> bool {
    if enter::has_own_network() {
        enter::enter(NEEDS).unwrap();
        return true;
    }
    let missing = |name: &str| {
        let found = probe::one(name).unwrap();
        let Capability { available, why, .. } = found;
        (!available).then(|| format!("{name}: {}", why.unwrap_or_default()))
    };
    if let Some(why) = ["netns", "nft", "nfqueue"].into_iter().find_map(missing) {
        // The harness of tests shows it where it is asked to.
        eprintln!("skipped: {why}");
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let mut again = command(NEEDS, &program).unwrap();
    let output = again.args(["--exact", test, "--nocapture"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{complained}");
    assert!(told.contains("1 passed"), "{told}");
    false
}

/// A socket in the node's namespace: it stays there when its thread has gone.
fn socket(network: &Namespaces, name: &str, at: SocketAddr) -> UdpSocket {
    let path = Path::new(NAMESPACES).join(network.namespace(name));
    let opened = thread::spawn(move || {
        let namespace = File::open(path).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).unwrap();
        StdUdpSocket::bind(at).unwrap()
    });
    let socket = opened.join().unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Two nodes, as far as packets are concerned.
struct Pair {
    network: Namespaces,
    sockets: [UdpSocket; 2],
    places: [Place; 2],
}

impl Pair {
    async fn new() -> Self {
        let network = Namespaces::new().await.unwrap();
        let places = [network.add("n1").await.unwrap(), network.add("n2").await.unwrap()];
        let sockets = [("n1", places[0]), ("n2", places[1])]
            .map(|(name, place)| socket(&network, name, place.peer_listen));
        let pair = Self { network, sockets, places };
        pair.assert_whole().await;
        pair
    }

    async fn impair(&self, id: u64, links: &[Link], impairments: &[Impairment]) {
        let (links, impairments) = (links.iter().cloned().collect(), impairments.to_vec());
        self.network.impair(&LinkFault { id, seed: 3, links, impairments }).await.unwrap();
    }

    async fn heal(&self, id: u64, link: &Link) -> Packets {
        self.network.heal(id).await.unwrap().links[link]
    }

    /// From one of both to the other.
    async fn say(&self, from: usize, bytes: &[u8]) {
        self.sockets[from].send_to(bytes, self.places[1 - from].peer).await.unwrap();
    }

    async fn hears(&self, to: usize, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2_000];
        let received = timeout(within, self.sockets[to].recv_from(&mut buffer)).await.ok()?;
        let (length, from) = received.unwrap();
        assert_eq!(from, self.places[1 - to].peer);
        buffer.truncate(length);
        Some(buffer)
    }

    async fn assert_whole(&self) {
        for from in [0, 1] {
            self.say(from, b"hello").await;
            assert_eq!(self.hears(1 - from, WITHIN).await.unwrap(), b"hello");
        }
    }
}

#[tokio::test]
async fn packets_between_namespaces_are_cut_and_changed() {
    if !is_inside("env::netns::tests::packets_between_namespaces_are_cut_and_changed") {
        return;
    }
    let pair = Pair::new().await;
    let (forth, back) = (Link::new("n1", "n2"), Link::new("n2", "n1"));

    // One way, in the kernel; and two faults at once.
    pair.impair(1, std::slice::from_ref(&forth), &[Impairment::Drop]).await;
    pair.impair(2, &Link::both("n1", "n2"), &[Impairment::Drop]).await;
    pair.network.heal(2).await.unwrap();
    pair.say(0, b"lost").await;
    assert_eq!(pair.hears(1, SILENCE).await, None);
    pair.say(1, b"heard").await;
    assert_eq!(pair.hears(0, WITHIN).await.unwrap(), b"heard");
    assert_eq!(pair.network.effect(1).await.unwrap().packets().dropped, 1);
    assert_eq!(pair.heal(1, &forth).await.dropped, 1);
    pair.assert_whole().await;
    assert_eq!(pair.network.heal(1).await.unwrap(), Effect::default());

    // In this process.
    let whole = [0x55; 600];
    let all = [
        Impairment::Duplicate { percent: 100 },
        Impairment::Corrupt { percent: 100 },
        Impairment::Delay { mean_ms: 100, jitter_ms: 0 },
    ];
    pair.impair(3, std::slice::from_ref(&back), &all).await;
    let sent = Instant::now();
    pair.say(1, &whole).await;
    let heard = [pair.hears(0, WITHIN).await.unwrap(), pair.hears(0, WITHIN).await.unwrap()];
    assert!(Duration::from_millis(100) <= sent.elapsed(), "{:?}", sent.elapsed());
    for bytes in heard {
        let differ = bytes.iter().filter(|byte| **byte != 0x55).count();
        assert!(bytes.len() == whole.len() && (1..=8).contains(&differ), "{bytes:?}");
    }
    let expected =
        Packets { passed: 1, delayed: 2, duplicated: 1, corrupted: 2, ..Packets::default() };
    assert_eq!(pair.heal(3, &back).await, expected);
    pair.assert_whole().await;

    pair.impair(4, std::slice::from_ref(&forth), &[Impairment::Mtu { bytes: 1_200 }]).await;
    pair.say(0, &[0; 1_201]).await;
    pair.say(0, &[0; 1_200]).await;
    assert_eq!(pair.hears(1, WITHIN).await.unwrap().len(), 1_200);
    assert_eq!(pair.network.effect(4).await.unwrap().packets().dropped, 1);

    pair.impair(5, std::slice::from_ref(&back), &[Impairment::Drop]).await;
    pair.network.heal_all().await.unwrap();
    pair.assert_whole().await;
}

#[tokio::test]
async fn a_cable_is_pulled_and_the_harness_keeps_its_own() {
    if !is_inside("env::netns::tests::a_cable_is_pulled_and_the_harness_keeps_its_own") {
        return;
    }
    let pair = Pair::new().await;
    let harness = UdpSocket::bind(("0.0.0.0", 0)).await.unwrap();
    pair.network.unplug(1, "n1").await.unwrap();
    let lost = pair.sockets[0].send_to(b"lost", pair.places[1].peer).await.unwrap_err();
    assert_eq!(lost.kind(), io::ErrorKind::NetworkUnreachable);
    let control = SocketAddr::new(pair.places[0].control.ip(), PEER_PORT);
    harness.send_to(b"hello", control).await.unwrap();
    let mut buffer = [0; 100];
    let heard = timeout(WITHIN, pair.sockets[0].recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..heard.0], b"hello");
    pair.sockets[0].send_to(b"hello", heard.1).await.unwrap();
    timeout(WITHIN, harness.recv_from(&mut buffer)).await.unwrap().unwrap();
    let effect = pair.network.heal(1).await.unwrap();
    assert_eq!((effect.touched(), effect.unplugged["n1"]), (1, 1));
    pair.assert_whole().await;
    let migrate = vec![Impairment::Migrate { every_ms: 1 }];
    let links = Link::both("n1", "n2").into();
    let fault = LinkFault { id: 2, seed: 0, links, impairments: migrate };
    let refused = pair.network.impair(&fault).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
}

/// The state of a process: S where it sleeps, T where it is stopped.
fn state(child: &Child) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_node_is_the_process_that_was_started() {
    if !is_inside("env::netns::tests::a_node_is_the_process_that_was_started") {
        return;
    }
    let network = Namespaces::new().await.unwrap();
    let place = network.add("n1").await.unwrap();
    assert_eq!(network.add("n1").await.unwrap(), place);
    let mut command = network.command("n1", &tool("sleep").unwrap());
    let mut child = command.arg("1000").env_clear().spawn().unwrap();
    let own = |file: &str| format!("/proc/{}/{file}", child.id());
    let until = |is: &dyn Fn() -> bool| {
        let deadline = Instant::now() + WITHIN;
        while !is() {
            assert!(Instant::now() < deadline, "it does not come to be");
            thread::yield_now();
        }
    };
    until(&|| fs::read_to_string(own("comm")).unwrap() == "sleep\n");
    let parent = format!("PPid:\t{}", std::process::id());
    assert!(fs::read_to_string(own("status")).unwrap().contains(&parent));
    let link = |of: &str, kind: &str| fs::read_link(format!("/proc/{of}/ns/{kind}")).unwrap();
    let id = child.id().to_string();
    assert_ne!(link(&id, "net"), link("self", "net"));
    assert_eq!(link(&id, "mnt"), link("self", "mnt"));
    signal_process(child.id(), Signal::STOP);
    until(&|| state(&child) == "T");
    signal_process(child.id(), Signal::KILL);
    assert_eq!(process::ending(child.wait().unwrap()), (None, Some(9)));
}
