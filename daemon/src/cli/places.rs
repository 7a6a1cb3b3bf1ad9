//! Where a new node listens, as it is typed.

use std::net::SocketAddr;

use crate::members::{address::Address, home::Places};

#[derive(clap::Args)]
pub(super) struct Listen {
    /// Where the node listens for other nodes, UDP [default: as --peer says; every address of this
    /// host where that names a host]
    #[arg(long, value_name = "IP:PORT")]
    peer_listen: Option<SocketAddr>,
    /// Where the node listens for clients [default: as --http says, likewise]
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<SocketAddr>,
}

impl Listen {
    pub(super) fn places(&self, peer: Address, http: Address) -> Places {
        let peer_listen = self.peer_listen.unwrap_or_else(|| peer.listen());
        let http_listen = self.http_listen.unwrap_or_else(|| http.listen());
        Places { peer, http, peer_listen, http_listen }
    }
}
