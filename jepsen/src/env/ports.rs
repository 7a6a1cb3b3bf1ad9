//! Ports that nobody else is given by chance.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that the system gives to connections, so that none of them takes a node's port
/// while the node is down.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// The next port that this process has not given to a node yet.
static NEXT: AtomicU16 = AtomicU16::new(PORTS.start);

/// An address of loopback that follows from the process id, so that other runners on this machine
/// do not use it; or the usual one on systems that have no others.
pub(crate) fn own_address() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = IpAddr::from(Ipv4Addr::new(127, 64 + (high & 63), middle, low));
    match UdpSocket::bind((own, 0)) {
        Ok(_) => own,
        Err(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
    }
}

/// A free port for packets.
pub(crate) fn packet(address: IpAddr) -> io::Result<SocketAddr> {
    free(address, |at| UdpSocket::bind(at).map(drop))
}

/// A free port for connections.
pub(crate) fn stream(address: IpAddr) -> io::Result<SocketAddr> {
    free(address, |at| TcpListener::bind(at).map(drop))
}

fn free(address: IpAddr, bind: impl Fn(SocketAddr) -> io::Result<()>) -> io::Result<SocketAddr> {
    for _ in PORTS {
        let next = |port| Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
        let port = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let place = SocketAddr::new(address, port.unwrap_or(PORTS.start));
        if bind(place).is_ok() {
            return Ok(place);
        }
    }
    Err(io::Error::other(format!("{address} has no free port")))
}
