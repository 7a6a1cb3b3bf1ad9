//! Nodes on loopback, with a relay in front of each peer port and a door in front of each client
//! port. Needs no rights.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use super::{
    Place,
    aside::Aside,
    door::Doors,
    fault::{ClientFault, Effect, LinkFault},
    ports,
    relay::{self, Relays},
};

pub struct Loopback {
    /// All of it is at this address, which other runners on this machine do not use.
    address: IpAddr,
    packets: Aside,
    relays: Arc<Relays>,
    doors: Doors,
}

impl Loopback {
    /// # Errors
    /// Where threads cannot be started.
    pub fn new() -> io::Result<Self> {
        let packets = Aside::start("packets")?;
        let (relays, late) = Relays::new();
        packets.spawn(late.send());
        Ok(Self { address: ports::own_address(), packets, relays, doors: Doors::new()? })
    }

    /// A place for another node.
    ///
    /// # Errors
    /// Where there are no ports left.
    pub fn add(&self, name: &str) -> io::Result<Place> {
        let peer_listen = ports::packet(self.address)?;
        let http_listen = ports::stream(self.address)?;
        let http = ports::stream(self.address)?;
        let outward = {
            let _entered = self.packets.handle().enter();
            relay::socket(SocketAddr::new(self.address, 0))?
        };
        let peer = outward.local_addr()?;
        self.relays.know(name, peer_listen);
        let relays = Arc::clone(&self.relays);
        self.packets.spawn(relay::relay(relays, name.to_owned(), peer_listen, outward));
        self.doors.add(name, http, http_listen);
        Ok(Place { peer, peer_listen, http, http_listen, control: http_listen })
    }

    pub fn impair(&self, fault: &LinkFault) {
        self.relays.wires.impair(fault, Instant::now());
    }

    pub fn impair_clients(&self, fault: &ClientFault) {
        self.doors.impair(fault);
    }

    /// What a fault did so far.
    pub fn effect(&self, id: u64) -> Effect {
        Effect {
            links: self.relays.wires.counts(id),
            clients: self.doors.counts(id),
            ..Effect::default()
        }
    }

    /// Ends a fault; what it did.
    pub fn heal(&self, id: u64) -> Effect {
        Effect {
            links: self.relays.wires.heal(id),
            clients: self.doors.heal(id),
            ..Effect::default()
        }
    }

    pub fn heal_all(&self) {
        self.relays.wires.heal_all();
        self.doors.heal_all();
    }
}

#[cfg(test)]
mod tests;
