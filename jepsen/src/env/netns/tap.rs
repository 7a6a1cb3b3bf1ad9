//! Holds, changes and doubles packets on their way between namespaces.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use super::queue::{Queue, Queued, Verdict};
use crate::env::{
    fault::Link,
    held::Held,
    wires::{Passage, Wires, damage},
};

const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
/// Where a UDP header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 6..8;
/// How soon it notices that it is no longer needed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Nodes by the addresses that they send from.
pub(super) type Names = Arc<Mutex<BTreeMap<Ipv4Addr, String>>>;

/// A thread that decides on packets. It ends when this is dropped.
pub(super) struct Tap {
    stop: Arc<AtomicBool>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tap {
    /// # Errors
    /// Where the kernel has no such queues, or this process may not have one.
    pub(super) fn start(number: u16, wires: Arc<Wires>, names: Names) -> io::Result<Self> {
        let kind = (SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let copies = socket_with(AddressFamily::INET, kind.0, kind.1, Some(ipproto::RAW))?;
        let stop = Arc::new(AtomicBool::new(false));
        let hands = Hands { wires, names, queue: Queue::bind(number)?, copies };
        let stopped = Arc::clone(&stop);
        thread::Builder::new().name(String::from("tap")).spawn(move || hands.run(&stopped))?;
        Ok(Self { stop })
    }
}

struct Hands {
    wires: Arc<Wires>,
    names: Names,
    queue: Queue,
    /// Sends the second one of two.
    copies: OwnedFd,
}

/// A packet that waits for its moment.
enum Late {
    Queued(Queued),
    Copy(Vec<u8>, Ipv4Addr),
}

impl Hands {
    fn run(mut self, stop: &AtomicBool) {
        let mut held = Held::default();
        while !stop.load(Ordering::Relaxed) {
            let until = |due: Instant| due.saturating_duration_since(Instant::now());
            let within = held.next_due().map_or(LOOK_EVERY, until).min(LOOK_EVERY);
            // The kernel lets packets pass where nobody decides on them.
            let Ok(packets) = self.queue.receive(within) else { return };
            for packet in packets {
                self.take(packet, &mut held);
            }
            while let Some(late) = held.pop_due(Instant::now()) {
                self.send(late);
            }
        }
    }

    fn take(&self, mut packet: Queued, held: &mut Held<Late>) {
        let now = Instant::now();
        let Some((link, to, payload)) = self.read(&packet.bytes) else {
            return self.decide(packet.id, Verdict::Accept);
        };
        let bytes = packet.bytes.len() - payload;
        let mut passages = self.wires.pass(&link, bytes, now).into_iter();
        let Some(first) = passages.next() else {
            return self.decide(packet.id, Verdict::Drop);
        };
        for Passage { after, flips } in passages {
            let mut copy = packet.bytes.clone();
            change(&mut copy, payload, &flips);
            held.push(now + after, Late::Copy(copy, to));
        }
        change(&mut packet.bytes, payload, &first.flips);
        let late = Late::Queued(packet);
        if first.after.is_zero() {
            self.send(late);
        } else {
            held.push(now + first.after, late);
        }
    }

    /// The link that a packet is on, where it goes, and where its content begins.
    fn read(&self, bytes: &[u8]) -> Option<(Link, Ipv4Addr, usize)> {
        let header = usize::from(bytes.first()? & 0xf) * 4;
        let payload = header + UDP_HEADER_BYTES;
        if *bytes.get(9)? != UDP || bytes.len() < payload {
            return None;
        }
        let address = |at: usize| bytes.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
        let (from, to) = (address(12)?, address(16)?);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Some((Link::new(names.get(&from)?, names.get(&to)?), to, payload))
    }

    fn send(&self, late: Late) {
        match late {
            // The kernel still has it as it was, unless it is told otherwise; to tell it so always
            // is simpler and costs little.
            Late::Queued(packet) => self.decide(packet.id, Verdict::Changed(&packet.bytes)),
            Late::Copy(bytes, to) => {
                let to = SocketAddrV4::new(to, 0);
                // Lost packets are what UDP has.
                let _ = sendto(&self.copies, &bytes, SendFlags::empty(), &to);
            }
        }
    }

    fn decide(&self, id: u32, verdict: Verdict<'_>) {
        // The kernel forgets packets of a link that went down.
        let _ = self.queue.decide(id, verdict);
    }
}

/// Flips bits of the content.
fn change(bytes: &mut [u8], payload: usize, flips: &[usize]) {
    if flips.is_empty() {
        return;
    }
    let (headers, content) = bytes.split_at_mut(payload);
    damage(content, flips);
    let (_, udp) = headers.split_at_mut(payload - UDP_HEADER_BYTES);
    // Without a checksum, the kernel lets the damage through to the program.
    udp[CHECKSUM].fill(0);
}
