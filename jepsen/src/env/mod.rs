//! Where nodes stand in the network, and what can be done to what they send.

mod aside;
mod door;
pub mod enter;
pub mod fault;
mod held;
pub mod loopback;
pub mod netns;
mod ports;
pub mod probe;
mod relay;
mod wires;

use std::{
    env,
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

pub use enter::{Needs, enter};
use fault::{ClientFault, Effect, LinkFault};
use loopback::Loopback;
use netns::Namespaces;
pub use probe::{Capability, probe};

use crate::test::plan::EnvKind;

/// A node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the other nodes find its peer port (UDP), and what it binds.
    pub peer: SocketAddr,
    pub peer_listen: SocketAddr,
    /// Where clients find it, past whatever may cut them off, and what it binds.
    pub http: SocketAddr,
    pub http_listen: SocketAddr,
    /// Where the harness finds its client port; no fault is put there.
    pub control: SocketAddr,
}

/// The network between nodes, and between clients and nodes.
pub enum Network {
    Loopback(Loopback),
    Namespaces(Namespaces),
}

impl Network {
    /// # Errors
    /// Where this machine does not let it be made.
    pub async fn new(kind: EnvKind) -> io::Result<Self> {
        match kind {
            EnvKind::Loopback => Loopback::new().map(Self::Loopback),
            EnvKind::Netns => Namespaces::new().await.map(Self::Namespaces),
        }
    }

    /// A place for another node.
    ///
    /// # Errors
    /// Where there is none left.
    pub async fn add(&self, name: &str) -> io::Result<Place> {
        match self {
            Self::Loopback(network) => network.add(name),
            Self::Namespaces(network) => network.add(name).await,
        }
    }

    /// A command that runs where the node is.
    pub fn command(&self, name: &str, program: &Path) -> Command {
        match self {
            Self::Loopback(_) => Command::new(program),
            Self::Namespaces(network) => network.command(name, program),
        }
    }

    /// Puts a fault on links.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where this network cannot do it.
    pub async fn impair(&self, fault: &LinkFault) -> io::Result<()> {
        match self {
            Self::Loopback(network) => network.impair(fault),
            Self::Namespaces(network) => network.impair(fault).await?,
        }
        Ok(())
    }

    /// Are there cables that can be pulled?
    pub const fn has_plugs(&self) -> bool {
        match self {
            Self::Loopback(_) => false,
            Self::Namespaces(_) => true,
        }
    }

    /// Pulls the cable of a node towards the others, until this fault is healed.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where this network has none.
    pub async fn unplug(&self, id: u64, name: &str) -> io::Result<()> {
        match self {
            Self::Loopback(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "loopback has no cables"))
            }
            Self::Namespaces(network) => network.unplug(id, name).await,
        }
    }

    /// Puts a fault between clients and nodes.
    pub fn impair_clients(&self, fault: &ClientFault) {
        match self {
            Self::Loopback(network) => network.impair_clients(fault),
            Self::Namespaces(network) => network.impair_clients(fault),
        }
    }

    /// What a fault did so far.
    ///
    /// # Errors
    /// Where the system does not say.
    pub async fn effect(&self, id: u64) -> io::Result<Effect> {
        match self {
            Self::Loopback(network) => Ok(network.effect(id)),
            Self::Namespaces(network) => network.effect(id).await,
        }
    }

    /// Ends a fault and leaves all others; what it did.
    ///
    /// # Errors
    /// Where the system does not end it, or does not say what it did.
    pub async fn heal(&self, id: u64) -> io::Result<Effect> {
        match self {
            Self::Loopback(network) => Ok(network.heal(id)),
            Self::Namespaces(network) => network.heal(id).await,
        }
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// Where the system does not end them.
    pub async fn heal_all(&self) -> io::Result<()> {
        match self {
            Self::Loopback(network) => network.heal_all(),
            Self::Namespaces(network) => network.heal_all().await?,
        }
        Ok(())
    }
}

/// Where programs are looked for: also where users other than root seldom look.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// Where a program of the system is.
fn tool(name: &str) -> io::Result<PathBuf> {
    let path = search_path();
    let found = env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file());
    let missing = || io::Error::new(io::ErrorKind::Unsupported, format!("{name} is not installed"));
    found.ok_or_else(missing)
}
