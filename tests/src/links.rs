//! The network between nodes: every packet passes here, and a link can be cut.
//!
//! In front of each node's peer port stands a UDP relay, whose address is the one that the other
//! nodes know. A node sends all its packets from its own peer port, so the relay knows who talks.
//! A link `(from, to)` is the connection that `from` opened to `to`, with its answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::{
    net::UdpSocket,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

/// The largest UDP datagram.
const DATAGRAM_MAX: usize = 65_536;

pub struct Links {
    shared: Arc<Shared>,
    relays: BTreeMap<u64, SocketAddr>,
    _stop: oneshot::Sender<()>,
}

struct Shared {
    /// Where each node really listens.
    nodes: BTreeMap<u64, SocketAddr>,
    cut: Mutex<BTreeSet<(u64, u64)>>,
}

impl Links {
    /// A relay for every node, each given with the address of its own peer port.
    ///
    /// # Panics
    /// Where the machine has no sockets left.
    pub fn new(nodes: BTreeMap<u64, SocketAddr>) -> Self {
        let mut relays = BTreeMap::new();
        let mut sockets = Vec::new();
        for &id in nodes.keys() {
            let socket = bind_std(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            relays.insert(id, socket.local_addr().expect("a bound socket has an address"));
            sockets.push((id, socket));
        }
        let shared = Arc::new(Shared { nodes, cut: Mutex::default() });
        let (stop, stopped) = oneshot::channel::<()>();
        let relaying = Arc::clone(&shared);
        // A thread of its own: a cluster may outlive the runtime of the test that started it.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let mut tasks = JoinSet::new();
                for (id, socket) in sockets {
                    tasks.spawn(relay(Arc::clone(&relaying), id, socket));
                }
                // The sender is dropped with the links.
                let _ = stopped.await;
            });
        });
        Self { shared, relays, _stop: stop }
    }

    /// Where the other nodes find `id`.
    pub fn address(&self, id: u64) -> SocketAddr {
        self.relays[&id]
    }

    /// Drops every packet between `id` and everybody else, in both directions.
    pub fn isolate(&self, id: u64) {
        let others: Vec<u64> = self.shared.nodes.keys().copied().filter(|&to| to != id).collect();
        let mut cut = self.shared.cut();
        for other in others {
            cut.extend([(id, other), (other, id)]);
        }
    }

    /// Drops the packets of the connection that `from` opened to `to`.
    pub fn cut(&self, from: u64, to: u64) {
        self.shared.cut().insert((from, to));
    }

    pub fn heal(&self) {
        self.shared.cut().clear();
    }
}

impl Shared {
    fn cut(&self) -> MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passes(&self, from: Option<u64>, to: u64) -> bool {
        from.is_none_or(|from| !self.cut().contains(&(from, to)))
    }

    fn who(&self, address: SocketAddr) -> Option<u64> {
        self.nodes.iter().find(|(_, node)| **node == address).map(|(id, _)| *id)
    }
}

/// The relay's own half of one connection: what the node behind the relay sees as the peer.
struct Flow {
    inward: Arc<UdpSocket>,
    answers: JoinHandle<()>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn relay(shared: Arc<Shared>, to: u64, socket: StdUdpSocket) {
    let outward = Arc::new(UdpSocket::from_std(socket).expect("the runtime takes sockets"));
    let target = shared.nodes[&to];
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error tells of an earlier packet that found nobody: the node is down.
        let Ok((length, source)) = outward.recv_from(&mut buffer).await else { continue };
        let from = shared.who(source);
        if !shared.passes(from, to) {
            continue;
        }
        let flow = flows.entry(source).or_insert_with(|| {
            let inward = bind_std(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let inward = Arc::new(UdpSocket::from_std(inward).expect("the runtime takes sockets"));
            let (shared, outward) = (Arc::clone(&shared), Arc::clone(&outward));
            let reader = Arc::clone(&inward);
            let answers = tokio::spawn(async move {
                let mut buffer = vec![0; DATAGRAM_MAX];
                loop {
                    let Ok((length, _)) = reader.recv_from(&mut buffer).await else { continue };
                    if shared.passes(from, to) {
                        // Lost packets are what UDP has.
                        let _ = outward.send_to(&buffer[..length], source).await;
                    }
                }
            });
            Flow { inward, answers }
        });
        let _ = flow.inward.send_to(&buffer[..length], target).await;
    }
}

fn bind_std(address: SocketAddr) -> StdUdpSocket {
    let socket = StdUdpSocket::bind(address).expect("loopback has free ports");
    socket.set_nonblocking(true).expect("sockets can be made non-blocking");
    socket
}
