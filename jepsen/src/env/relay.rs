//! Carries packets between nodes on loopback.
//!
//! In front of each node's peer port stands a relay, whose address is the one that the other nodes
//! know. A node sends all its packets from its own peer port, so the relay knows who talks. For
//! each talker it has a socket of its own towards the node behind it, and what the node answers
//! there goes back to the talker. So a packet from `n1` to `n2` passes either the relay of `n2`,
//! where `n1` opened the connection, or that of `n1`, as an answer; both ask the same link for its
//! fate.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::net::sockopt;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep_until, timeout},
};

use super::{
    fault::Link,
    held::Held,
    wires::{Passage, Wires, damage},
};

/// The largest UDP datagram.
const DATAGRAM_MAX: usize = 65_536;
/// A burst waits here while the relay's thread is not run.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// A talker whose node does not answer for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What all relays know.
pub(crate) struct Relays {
    pub(crate) wires: Wires,
    /// Nodes by the addresses that they send from.
    nodes: Mutex<BTreeMap<SocketAddr, String>>,
    late: mpsc::UnboundedSender<(Instant, Packet)>,
}

/// A packet on its way out.
struct Packet {
    through: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Packets that wait for their moment.
pub(crate) struct Late(mpsc::UnboundedReceiver<(Instant, Packet)>);

/// The relay's half of one connection: what the node behind it sees as the peer.
struct Flow {
    inward: Arc<UdpSocket>,
    answers: JoinHandle<()>,
    /// What the talker sends. None where nobody knows who that is, such as a command that joins
    /// a node; no fault is on such packets.
    forth: Option<Link>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

impl Relays {
    pub(crate) fn new() -> (Arc<Self>, Late) {
        let (late, receiver) = mpsc::unbounded_channel();
        let relays = Self { wires: Wires::default(), nodes: Mutex::default(), late };
        (Arc::new(relays), Late(receiver))
    }

    /// From now on, what comes from this address is this node's.
    pub(crate) fn know(&self, name: &str, address: SocketAddr) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(address, name.to_owned());
    }

    fn who(&self, address: SocketAddr) -> Option<String> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    async fn forward(&self, link: Option<&Link>, bytes: &[u8], out: (&Arc<UdpSocket>, SocketAddr)) {
        let ((through, to), now) = (out, Instant::now());
        let passages = link.map_or_else(
            || vec![Passage::default()],
            |link| self.wires.pass(link, bytes.len(), now),
        );
        for Passage { after, flips } in passages {
            let mut bytes = bytes.to_vec();
            damage(&mut bytes, &flips);
            let packet = Packet { through: Arc::clone(through), to, bytes };
            if after.is_zero() {
                packet.send().await;
            } else {
                // The receiver is gone when all is torn down.
                let _ = self.late.send((now + after, packet));
            }
        }
    }
}

impl Packet {
    async fn send(self) {
        // Lost packets are what UDP has: the node may be down.
        let _ = self.through.send_to(&self.bytes, self.to).await;
    }
}

impl Late {
    /// Sends them when they are due.
    pub(crate) async fn send(mut self) {
        let mut held = Held::default();
        loop {
            let due = held.next_due().unwrap_or_else(|| Instant::now() + IDLE_MAX);
            tokio::select! {
                packet = self.0.recv() => {
                    let Some((due, packet)) = packet else { return };
                    held.push(due, packet);
                }
                () = sleep_until(due.into()) => {}
            }
            while let Some(packet) = held.pop_due(Instant::now()) {
                packet.send().await;
            }
        }
    }
}

/// A socket that takes bursts. To be called where a runtime is entered.
pub(crate) fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = StdUdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // The system gives as much of it as it allows.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    UdpSocket::from_std(socket)
}

/// Stands in front of the node `name`, which listens at `node`, for as long as it runs.
pub(crate) async fn relay(relays: Arc<Relays>, name: String, node: SocketAddr, outward: UdpSocket) {
    let outward = Arc::new(outward);
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error tells of an earlier packet.
        let Ok((length, talker)) = outward.recv_from(&mut buffer).await else { continue };
        flows.retain(|_, flow| !flow.answers.is_finished());
        let forth = flows.get(&talker).and_then(|flow| flow.forth.as_ref());
        let migrates = forth.is_some_and(|link| relays.wires.migrates(link, Instant::now()));
        if migrates || !flows.contains_key(&talker) {
            let Ok(flow) = open(&relays, &name, node, (&outward, talker)) else { continue };
            flows.insert(talker, flow);
        }
        if let Some(flow) = flows.get(&talker) {
            relays.forward(flow.forth.as_ref(), &buffer[..length], (&flow.inward, node)).await;
        }
    }
}

fn open(
    relays: &Arc<Relays>,
    name: &str,
    node: SocketAddr,
    (outward, talker): (&Arc<UdpSocket>, SocketAddr),
) -> io::Result<Flow> {
    let inward = Arc::new(socket(SocketAddr::new(node.ip(), 0))?);
    let other = relays.who(talker);
    let forth = other.as_ref().map(|other| Link::new(other, name));
    let back = other.as_ref().map(|other| Link::new(name, other));
    let (relays, outward, reader) = (Arc::clone(relays), Arc::clone(outward), Arc::clone(&inward));
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while let Ok(received) = timeout(IDLE_MAX, reader.recv_from(&mut buffer)).await {
            let Ok((length, _)) = received else { continue };
            relays.forward(back.as_ref(), &buffer[..length], (&outward, talker)).await;
        }
    });
    Ok(Flow { inward, answers, forth })
}
