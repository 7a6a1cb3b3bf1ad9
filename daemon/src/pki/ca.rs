//! A cluster's certificate authority: makes itself once, then issues a certificate for each node.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};

use rustls_pki_types::CertificateDer;

use super::{
    CA_CERTIFICATE, CA_KEY, ClusterId, NODE_CERTIFICATE, NODE_KEY, NodeName, PkiError,
    files::{self, Secrecy},
    pin,
    request::NodeRequest,
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
    certificate: CertificateDer<'static>,
    /// With whatever else is in its file.
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
        let certificate = params.self_signed(&key)?;
        let certificate_pem = certificate.pem();
        Ok(Self { cluster, certificate: certificate.into(), certificate_pem, key })
    }

    /// Reads `ca.crt` and `ca.key` of a directory.
    ///
    /// # Errors
    /// [`PkiError`] names the file and what is wrong with it.
    pub(crate) fn load(directory: &Path) -> Result<Self, PkiError> {
        Self::load_files(&directory.join(CA_CERTIFICATE), &directory.join(CA_KEY))
    }

    /// Reads the first certificate of one file, and its key in the other.
    ///
    /// # Errors
    /// [`PkiError`] names the file and what is wrong with it.
    pub(crate) fn load_files(certificate_path: &Path, key_path: &Path) -> Result<Self, PkiError> {
        let not_pem = |path: &Path, wanted, reason: String| PkiError::NotPem {
            path: path.to_owned(),
            wanted,
            reason,
        };
        let certificate = files::read_certificates(certificate_path)?.swap_remove(0);
        let cluster = cluster_of(&certificate)
            .map_err(|reason| not_pem(certificate_path, "a certificate", reason))?
            .ok_or_else(|| PkiError::NotAnAuthority { path: certificate_path.to_owned() })?;
        let key_pem = String::from_utf8(files::read(key_path)?)
            .map_err(|error| not_pem(key_path, "a private key", error.to_string()))?;
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|error| not_pem(key_path, "a private key", error.to_string()))?;
        let certificate_pem = String::from_utf8(files::read(certificate_path)?)
            .map_err(|error| not_pem(certificate_path, "a certificate", error.to_string()))?;
        let fits = x509_parser::parse_x509_certificate(&certificate).is_ok_and(|(_, parsed)| {
            parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
        });
        if !fits {
            let (certificate, key) = (certificate_path.to_owned(), key_path.to_owned());
            return Err(PkiError::KeyMismatch { certificate, key });
        }
        Ok(Self { cluster, certificate, certificate_pem, key })
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

    /// Is it the authority of the cluster that wants to use it? `path` is where it was read.
    ///
    /// # Errors
    /// [`PkiError::OtherClustersAuthority`].
    pub(crate) fn require_cluster(&self, wanted: ClusterId, path: &Path) -> Result<(), PkiError> {
        if self.cluster == wanted {
            return Ok(());
        }
        let path = path.to_owned();
        Err(PkiError::OtherClustersAuthority { path, found: self.cluster, wanted })
    }

    /// By which a node that never met the cluster knows this authority.
    pub(crate) fn pin(&self) -> [u8; 32] {
        pin::pin_of(&self.certificate)
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Secret.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
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
        let key = KeyPair::generate()?;
        Ok(NodeCertificate {
            certificate_pem: self.sign(node, &key, now)?,
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
        })
    }

    /// A certificate for node `node`, which has the key of the request; PEM, valid from a day
    /// before `now`. Of the request only the key counts.
    ///
    /// # Errors
    /// [`PkiError::Issue`] where the authority's key cannot sign.
    pub(crate) fn sign_request(
        &self,
        node: u64,
        request: &NodeRequest,
        now: SystemTime,
    ) -> Result<String, PkiError> {
        self.sign(node, request.public_key(), now)
    }

    fn sign(
        &self,
        node: u64,
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> Result<String, PkiError> {
        let name = NodeName { cluster: self.cluster, node };
        let mut params = CertificateParams::new(vec![name.to_string()])?;
        params.distinguished_name = common_name(format!("SyncKairos node {node}"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, now, NODE_VALID);
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        Ok(params.signed_by(key, &issuer)?.pem())
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

/// The cluster that the certificate of an authority names.
fn cluster_of(certificate: &CertificateDer<'_>) -> Result<Option<ClusterId>, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let mut names = parsed.subject().iter_common_name();
    Ok(names.find_map(|name| name.as_str().ok()?.strip_prefix(CA_COMMON_NAME)?.parse().ok()))
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
