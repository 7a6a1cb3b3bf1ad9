//! TLS between peers: version 1.3, both sides with a certificate of the cluster's authority,
//! nothing remembered from one connection to the next. A node that is about to join has no
//! certificate yet, and a protocol of its own.

use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

use super::{PkiError, identity::PeerIdentity, pin::PinnedAuthority};

/// Names the protocol between peers. Its number changes when old and new cannot talk at all.
pub(crate) const ALPN: &[u8] = b"synckairos-raft/1";
/// Names the protocol by which a node that is no peer yet asks to be let in.
pub(crate) const JOIN_ALPN: &[u8] = b"synckairos-join/1";

/// The one implementation of cryptography in the process.
pub(crate) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// For connections that peers open to this node. Who shows no certificate gets through the
/// handshake, so what it may do from there is for the listener to say.
///
/// # Errors
/// [`PkiError::Tls`] where the identity cannot be used.
pub(crate) fn server(identity: &PeerIdentity) -> Result<ServerConfig, PkiError> {
    let provider = Arc::new(provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(identity.roots.clone(), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| PkiError::Tls(error.to_string()))?;
    let mut chain = identity.chain.clone();
    // Peers have it; a node that joins knows it by its hash and must see it.
    let missing =
        identity.authorities.iter().filter(|authority| !identity.chain.contains(authority));
    chain.extend(missing.cloned());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, identity.key.clone_key())
        .map_err(tls)?;
    config.alpn_protocols = vec![ALPN.to_vec(), JOIN_ALPN.to_vec()];
    // A resumed session would skip the check of the peer's certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// For connections that this node opens to peers.
///
/// # Errors
/// [`PkiError::Tls`] where the identity cannot be used.
pub(crate) fn client(identity: &PeerIdentity) -> Result<ClientConfig, PkiError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .with_root_certificates(identity.roots.clone())
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(tls)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// For the connection that a node opens to be let into the cluster whose authority has this pin.
///
/// # Errors
/// [`PkiError::Tls`] where TLS cannot be set up at all.
pub(crate) fn joining(pin: [u8; 32]) -> Result<ClientConfig, PkiError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority::new(pin)))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn tls(error: rustls::Error) -> PkiError {
    PkiError::Tls(error.to_string())
}
