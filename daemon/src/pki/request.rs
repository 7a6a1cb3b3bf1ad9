//! A node that has its key already asks for a certificate.

use std::path::Path;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData,
};

use super::{
    PkiError,
    files::{self, Secrecy},
};

/// An uncompressed point of P-256.
const PUBLIC_KEY_BYTES: usize = 65;

/// A node's private key, before there is a certificate for it. Never leaves the node.
pub(crate) struct NodeKey(KeyPair);

impl NodeKey {
    /// Reads the key from `path`, or makes one and keeps it there, readable by its owner only.
    ///
    /// # Errors
    /// [`PkiError`] where the file can be neither read nor written, or holds something else.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, PkiError> {
        let pem = match files::read(path) {
            Ok(pem) => pem,
            Err(PkiError::Missing { .. }) => {
                let key = KeyPair::generate()?;
                files::replace(path, key.serialize_pem().as_bytes(), Secrecy::Private)?;
                return Ok(Self(key));
            }
            Err(error) => return Err(error),
        };
        let not_a_key = |reason: String| PkiError::NotPem {
            path: path.to_owned(),
            wanted: "a private key",
            reason,
        };
        let pem = String::from_utf8(pem).map_err(|error| not_a_key(error.to_string()))?;
        KeyPair::from_pem(&pem).map(Self).map_err(|error| not_a_key(error.to_string()))
    }

    /// A request in DER that shows the key and says nothing else: who the node is, the cluster says.
    ///
    /// # Errors
    /// [`PkiError::Issue`].
    pub(crate) fn request(&self) -> Result<Vec<u8>, PkiError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }
}

/// What counts of a request: the key, whose owner signed it.
#[derive(Debug)]
pub(crate) struct NodeRequest(PublicKey);

impl NodeRequest {
    /// Reads a request in DER and checks its signature. Names and extensions in it are ignored.
    ///
    /// # Errors
    /// [`PkiError::Request`].
    pub(crate) fn read(der: &[u8]) -> Result<Self, PkiError> {
        let request = CertificateSigningRequestParams::from_der(&der.into());
        let request = request.map_err(|error| {
            let unsigned = error == rcgen::Error::InvalidCertificationRequestSignature;
            PkiError::Request(if unsigned {
                "is not signed with the key that it shows"
            } else {
                "cannot be read"
            })
        })?;
        let key = request.public_key;
        if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != PUBLIC_KEY_BYTES {
            return Err(PkiError::Request("is for a key of another kind than P-256"));
        }
        Ok(Self(key))
    }

    /// Hash of the key, as a certificate holds it.
    pub(crate) fn key_digest(&self) -> [u8; 32] {
        *blake3::hash(&self.0.subject_public_key_info()).as_bytes()
    }

    pub(super) fn public_key(&self) -> &impl PublicKeyData {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::SystemTime};

    use rcgen::{BasicConstraints, IsCa, PKCS_ED25519};
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::parse_x509_certificate;

    use super::*;
    use crate::pki::{
        ClusterId, NodeName,
        ca::{ClusterCa, NodeCertificate},
        identity::{IdentityFiles, PeerIdentity},
    };

    fn authority() -> ClusterCa {
        ClusterCa::create(ClusterId::random(), SystemTime::now()).unwrap()
    }

    #[test]
    fn a_signed_request_makes_its_node_known() {
        let (ca, directory) = (authority(), tempfile::tempdir().unwrap());
        let files = IdentityFiles::in_directory(directory.path());
        let key = NodeKey::load_or_create(&files.key).unwrap();
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let request = NodeRequest::read(&key.request().unwrap()).unwrap();
        let certificate_pem = ca.sign_request(4, &request, SystemTime::now()).unwrap();
        let (key_pem, ca_pem) = (key.0.serialize_pem(), ca.certificate_pem().to_owned());
        NodeCertificate { certificate_pem, key_pem, ca_pem }.save(directory.path()).unwrap();
        let identity = PeerIdentity::load(&files, SystemTime::now()).unwrap();
        assert_eq!(identity.name, NodeName { cluster: ca.cluster(), node: 4 });
        let der = CertificateDer::from_pem_file(&files.certificate).unwrap();
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        let info = blake3::hash(certificate.public_key().raw);
        assert_eq!(request.key_digest(), *info.as_bytes());
        let again = NodeKey::load_or_create(&files.key).unwrap();
        assert_eq!(again.0.public_key_raw(), key.0.public_key_raw());
        fs::write(&files.key, "no key").unwrap();
        assert!(matches!(NodeKey::load_or_create(&files.key), Err(PkiError::NotPem { .. })));
    }

    #[test]
    fn what_a_request_says_of_its_node_is_ignored() {
        let (ca, key) = (authority(), KeyPair::generate().unwrap());
        let forged = NodeName { cluster: ca.cluster(), node: 1 }.to_string();
        let mut params = CertificateParams::new(vec![forged]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let request = params.serialize_request(&key).unwrap();
        let request = NodeRequest::read(request.der()).unwrap();
        let signed = ca.sign_request(4, &request, SystemTime::now()).unwrap();
        let issued = ca.issue_node(4, SystemTime::now()).unwrap().certificate_pem;
        let [signed, issued] =
            [signed, issued].map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        let (_, signed) = parse_x509_certificate(&signed).unwrap();
        let (_, issued) = parse_x509_certificate(&issued).unwrap();
        assert_eq!(signed.subject(), issued.subject());
        assert_eq!(signed.issuer(), issued.issuer());
        // But for the hash of the key, which is its own.
        let key_identifier =
            |oid: &&_| **oid != x509_parser::oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER;
        let (ours, theirs) = (signed.extensions_map().unwrap(), issued.extensions_map().unwrap());
        assert_eq!(ours.len(), theirs.len());
        for oid in ours.keys().filter(key_identifier) {
            assert_eq!(ours[oid].value, theirs[oid].value, "{oid}");
        }
        assert_eq!(signed.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    }

    #[test]
    fn requests_that_prove_nothing_are_refused() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let good = params.serialize_request(&key).unwrap().der().to_vec();
        let refusal = |der: &[u8]| NodeRequest::read(der).unwrap_err().to_string();
        let last = good.len() - 1;
        let mut resigned = good.clone();
        resigned[last] ^= 1;
        assert!(refusal(&resigned).contains("not signed"), "{}", refusal(&resigned));
        // Somebody else's key in it.
        let other = KeyPair::generate().unwrap();
        let (ours, theirs) = (key.public_key_raw(), other.public_key_raw());
        let at = good.windows(ours.len()).position(|part| part == ours).unwrap();
        let mut swapped = good.clone();
        swapped[at..at + theirs.len()].copy_from_slice(theirs);
        assert!(refusal(&swapped).contains("not signed"));
        for length in 0..good.len() {
            assert!(NodeRequest::read(&good[..length]).is_err(), "{length}");
        }
        let other_kind = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let request = params.serialize_request(&other_kind).unwrap();
        assert!(refusal(request.der()).contains("another kind"));
    }
}
