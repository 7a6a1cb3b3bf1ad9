//! A cluster's certificate authority: makes itself once, then issues a certificate for each node.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::{
    CA_CERTIFICATE, CA_KEY, ClusterId, NODE_CERTIFICATE, NODE_KEY, NodeName, PkiError,
    files::{self, Secrecy},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The authority outlives the machines it was made for: replacing it means touching every node.
const CA_VALID: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Five years: a node's certificate is replaced one node at a time, without an outage.
const NODE_VALID: Duration = Duration::from_secs(5 * 365 * 24 * 60 * 60);
const CA_COMMON_NAME: &str = "SyncKairos cluster ";

/// May say who belongs to a cluster. Whoever holds its key may be any node.
pub(crate) struct ClusterCa {
    cluster: ClusterId,
    certificate_pem: String,
    key: KeyPair,
}

/// What a node needs to prove who it is, as PEM text.
pub(crate) struct NodeCertificate {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    pub(crate) ca_pem: String,
}

impl ClusterCa {
    /// A new authority for `cluster`, valid from a day before `now`.
    ///
    /// # Errors
    /// [`PkiError::Issue`] where the operating system has no randomness.
    pub(crate) fn create(cluster: ClusterId, now: SystemTime) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = common_name(format!("{CA_COMMON_NAME}{cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, now, CA_VALID);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { cluster, certificate_pem, key })
    }

    /// Reads `ca.crt` and `ca.key` of a directory.
    ///
    /// # Errors
    /// [`PkiError`] names the file and what is wrong with it.
    pub(crate) fn load(directory: &Path) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (directory.join(CA_CERTIFICATE), directory.join(CA_KEY));
        let not_pem = |path: &Path, wanted, reason: String| PkiError::NotPem {
            path: path.to_owned(),
            wanted,
            reason,
        };
        let certificates = files::read_certificates(&certificate_path)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificates[0])
            .map_err(|e| not_pem(&certificate_path, "a certificate", e.to_string()))?;
        let cluster = parsed
            .subject()
            .iter_common_name()
            .find_map(|name| name.as_str().ok()?.strip_prefix(CA_COMMON_NAME)?.parse().ok())
            .ok_or_else(|| PkiError::NotAnAuthority { path: certificate_path.clone() })?;
        let key_pem = String::from_utf8(files::read(&key_path)?)
            .map_err(|error| not_pem(&key_path, "a private key", error.to_string()))?;
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|error| not_pem(&key_path, "a private key", error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { certificate: certificate_path, key: key_path });
        }
        let certificate_pem = String::from_utf8(files::read(&certificate_path)?)
            .map_err(|error| not_pem(&certificate_path, "a certificate", error.to_string()))?;
        Ok(Self { cluster, certificate_pem, key })
    }

    /// Writes `ca.crt` and `ca.key` (readable by its owner only) into an existing directory.
    ///
    /// # Errors
    /// [`PkiError::Exists`] where there is an authority already, or [`PkiError::Unwritable`].
    pub(crate) fn save(&self, directory: &Path) -> Result<(), PkiError> {
        let key = self.key.serialize_pem();
        files::create(&directory.join(CA_KEY), key.as_bytes(), Secrecy::Private)?;
        let certificate = self.certificate_pem.as_bytes();
        files::create(&directory.join(CA_CERTIFICATE), certificate, Secrecy::Public)
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// A key and a certificate for node `node`, valid from a day before `now`.
    ///
    /// # Errors
    /// [`PkiError::Issue`] where the operating system has no randomness.
    pub(crate) fn issue_node(
        &self,
        node: u64,
        now: SystemTime,
    ) -> Result<NodeCertificate, PkiError> {
        let name = NodeName { cluster: self.cluster, node };
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_string()])?;
        params.distinguished_name = common_name(format!("SyncKairos node {node}"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, now, NODE_VALID);
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &self.key)?;
        Ok(NodeCertificate {
            certificate_pem: params.signed_by(&key, &issuer)?.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
        })
    }
}

impl NodeCertificate {
    /// Writes `ca.crt`, `node.crt` and `node.key` (readable by its owner only) into an existing
    /// directory, in place of older ones.
    ///
    /// # Errors
    /// [`PkiError::Unwritable`].
    pub(crate) fn save(&self, directory: &Path) -> Result<(), PkiError> {
        let (ca, key) = (self.ca_pem.as_bytes(), self.key_pem.as_bytes());
        files::replace(&directory.join(CA_CERTIFICATE), ca, Secrecy::Public)?;
        files::replace(&directory.join(NODE_KEY), key, Secrecy::Private)?;
        let certificate = self.certificate_pem.as_bytes();
        files::replace(&directory.join(NODE_CERTIFICATE), certificate, Secrecy::Public)
    }
}

fn common_name(text: String) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// From a day before `now`, so that a host whose clock is behind accepts it at once.
fn valid_for(params: &mut CertificateParams, now: SystemTime, span: Duration) {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Certificates count whole seconds.
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs());
    params.not_before = now - DAY;
    params.not_after = now + span;
}
