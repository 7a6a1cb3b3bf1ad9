//! Ports that nobody uses, below the range from which the kernel takes ports for outgoing
//! connections: a node that was killed finds its port free when it comes back.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// An address on loopback whose port is free for TCP and for UDP.
pub fn free() -> SocketAddr {
    run_of(1)
}

/// The first of `count` neighbouring ports that are all free.
///
/// # Panics
/// Where the machine has none left.
pub fn run_of(count: u16) -> SocketAddr {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let (low, _) = uuid::Uuid::new_v4().as_u64_pair();
        let offset = u16::try_from(low % u64::from(COUNT)).expect("a remainder of a u16");
        let ports = FIRST + offset..FIRST + offset + count;
        if ports.clone().all(|port| !taken.contains(&port) && is_free(port)) {
            taken.extend(ports.clone());
            return at(ports.start);
        }
    }
    panic!("found no {count} free ports on loopback");
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(at(port)).is_ok() && UdpSocket::bind(at(port)).is_ok()
}
