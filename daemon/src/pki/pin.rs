//! How a node that never met a cluster knows it: by a hash of its authority's certificate.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::tls;

/// BLAKE3 of the certificate's DER.
pub(crate) fn pin_of(certificate: &CertificateDer<'_>) -> [u8; 32] {
    *blake3::hash(certificate).as_bytes()
}

/// The certificate of a chain that has the pin.
pub(crate) fn pinned<'a, 'der>(
    chain: &'a [CertificateDer<'der>],
    pin: &[u8; 32],
) -> Option<&'a CertificateDer<'der>> {
    chain.iter().find(|certificate| pin_of(certificate) == *pin)
}

/// Trusts a server whose chain has the pinned authority in it, and who is by that authority's word
/// the node that was dialled.
#[derive(Debug)]
pub(crate) struct PinnedAuthority {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl PinnedAuthority {
    pub(crate) fn new(pin: [u8; 32]) -> Self {
        Self { pin, provider: Arc::new(tls::provider()) }
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = pinned(intermediates, &self.pin).ok_or_else(|| {
            Error::General(String::from("its authority is not the one that the token names"))
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::pki::{ClusterId, NodeName, ca::ClusterCa};

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    struct Cluster(ClusterCa);

    impl Cluster {
        fn new() -> Self {
            Self(ClusterCa::create(ClusterId::random(), SystemTime::now()).unwrap())
        }

        fn authority(&self) -> CertificateDer<'static> {
            der(self.0.certificate_pem())
        }

        fn node(&self, node: u64) -> CertificateDer<'static> {
            der(&self.0.issue_node(node, SystemTime::now()).unwrap().certificate_pem)
        }

        fn verify(
            &self,
            leaf: &CertificateDer<'_>,
            rest: &[CertificateDer<'_>],
            node: u64,
            later: Duration,
        ) -> Result<(), String> {
            let name = NodeName { cluster: self.0.cluster(), node }.to_string();
            let name = ServerName::try_from(name).unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + later;
            PinnedAuthority::new(self.0.pin())
                .verify_server_cert(leaf, rest, &name, &[], UnixTime::since_unix_epoch(now))
                .map(|_| ())
                .map_err(|error| error.to_string())
        }
    }

    #[test]
    fn only_the_pinned_authority_may_vouch_for_a_server() {
        let (ours, theirs) = (Cluster::new(), Cluster::new());
        let (soon, chain) = (Duration::ZERO, [ours.authority()]);
        assert_eq!(ours.verify(&ours.node(1), &chain, 1, soon), Ok(()));
        // Others in the chain neither help nor hurt.
        let both = [theirs.authority(), ours.authority()];
        assert_eq!(ours.verify(&ours.node(1), &both, 1, soon), Ok(()));
        let refused = [
            (theirs.node(1), vec![theirs.authority()], 1),
            // Showing the right authority is not being vouched for by it.
            (theirs.node(1), both.to_vec(), 1),
            (ours.node(2), chain.to_vec(), 1),
            (ours.node(1), Vec::new(), 1),
            (ours.authority(), chain.to_vec(), 1),
        ];
        for (leaf, rest, node) in refused {
            assert!(ours.verify(&leaf, &rest, node, soon).is_err());
        }
        let late = Duration::from_secs(6 * 365 * 24 * 60 * 60);
        assert!(ours.verify(&ours.node(1), &chain, 1, late).is_err(), "expired");
        let told = ours.verify(&theirs.node(1), &[theirs.authority()], 1, soon).unwrap_err();
        assert!(told.contains("not the one that the token names"), "{told}");
    }

    #[test]
    fn a_pin_is_of_one_certificate() {
        let (ours, theirs) = (Cluster::new(), Cluster::new());
        assert_eq!(ours.0.pin(), pin_of(&ours.authority()));
        assert_ne!(ours.0.pin(), theirs.0.pin());
        let chain = [ours.node(1), theirs.authority(), ours.authority()];
        assert_eq!(pinned(&chain, &ours.0.pin()), Some(&chain[2]));
        assert_eq!(pinned(&chain[..2], &ours.0.pin()), None);
    }
}
