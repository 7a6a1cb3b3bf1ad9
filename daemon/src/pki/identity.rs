//! Who this node is: its certificate and key, read from files and checked before they are used.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::{CA_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY, NodeName, PkiError, files, tls};

/// Where a node's certificates lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityFiles {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl IdentityFiles {
    /// `ca.crt`, `node.crt` and `node.key` of a directory.
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            ca: directory.join(CA_CERTIFICATE),
            certificate: directory.join(NODE_CERTIFICATE),
            key: directory.join(NODE_KEY),
        }
    }
}

/// What a node proves to its peers, checked: the key fits the certificate, the authority issued
/// it, and it was valid when it was read.
#[derive(Debug)]
pub(crate) struct PeerIdentity {
    pub(crate) name: NodeName,
    /// When the certificate expires.
    pub(crate) expires: SystemTime,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) roots: Arc<RootCertStore>,
    /// The authority's own certificate, and whatever else is trusted.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    files: IdentityFiles,
}

impl PeerIdentity {
    /// Reads and checks the files at `now`.
    ///
    /// # Errors
    /// [`PkiError`] names the file, what is wrong with it and what to do.
    pub(crate) fn load(files: &IdentityFiles, now: SystemTime) -> Result<Self, PkiError> {
        let authorities = files::read_certificates(&files.ca)?;
        let roots = Arc::new(roots_of(&authorities, &files.ca)?);
        let chain = files::read_certificates(&files.certificate)?;
        let key = files::read_key(&files.key)?;
        require_match(files, &chain, &key)?;
        let name = NodeName::of(&chain[0])
            .map_err(|reason| PkiError::NotANode { path: files.certificate.clone(), reason })?;
        let expires = require_valid(&files.certificate, &chain[0], now)?;
        require_issued(files, &roots, &chain, now)?;
        Ok(Self { name, expires, chain, key, roots, authorities, files: files.clone() })
    }

    /// Is this the identity of the node that wants to use it?
    ///
    /// # Errors
    /// [`PkiError::OtherNode`].
    pub(crate) fn require_name(&self, wanted: NodeName) -> Result<(), PkiError> {
        if self.name == wanted {
            return Ok(());
        }
        let path = self.files.certificate.clone();
        Err(PkiError::OtherNode { path, found: self.name, wanted })
    }
}

fn roots_of(
    authorities: &[CertificateDer<'static>],
    path: &Path,
) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities.iter().cloned() {
        roots.add(certificate).map_err(|_| PkiError::NotAnAuthority { path: path.to_owned() })?;
    }
    Ok(roots)
}

fn require_match(
    files: &IdentityFiles,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), PkiError> {
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &tls::provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(PkiError::KeyMismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        }),
        Err(error) => Err(PkiError::NotPem {
            path: files.key.clone(),
            wanted: "a private key that TLS can use",
            reason: error.to_string(),
        }),
    }
}

fn require_valid(
    path: &Path,
    certificate: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<SystemTime, PkiError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| PkiError::NotPem {
            path: path.to_owned(),
            wanted: "a certificate",
            reason: error.to_string(),
        })?;
    let instant = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    let expires = instant(parsed.validity().not_after.timestamp());
    if now < instant(parsed.validity().not_before.timestamp()) {
        return Err(PkiError::NotYetValid { path: path.to_owned() });
    }
    match now.duration_since(expires) {
        Ok(past) => {
            let days = past.as_secs() / (24 * 60 * 60);
            Err(PkiError::Expired { path: path.to_owned(), days })
        }
        Err(_) => Ok(expires),
    }
}

/// Asks what every peer will ask: does the chain lead to the authority?
fn require_issued(
    files: &IdentityFiles,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<(), PkiError> {
    let other = |reason: String| PkiError::OtherAuthority {
        certificate: files.certificate.clone(),
        ca: files.ca.clone(),
        reason,
    };
    let provider = Arc::new(tls::provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider)
        .build()
        .map_err(|error| other(error.to_string()))?;
    let name = NodeName::of(&chain[0])
        .map_err(|reason| PkiError::NotANode { path: files.certificate.clone(), reason })?;
    let name = ServerName::try_from(name.to_string()).map_err(|error| other(error.to_string()))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], now)
        .map(|_| ())
        .map_err(|error| other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pki::{CA_KEY, ClusterId, ca::ClusterCa};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    struct Directory {
        directory: tempfile::TempDir,
        ca: ClusterCa,
    }

    impl Directory {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let ca = ClusterCa::create(ClusterId::random(), SystemTime::now()).unwrap();
            ca.issue_node(4, SystemTime::now()).unwrap().save(directory.path()).unwrap();
            Self { directory, ca }
        }

        fn files(&self) -> IdentityFiles {
            IdentityFiles::in_directory(self.directory.path())
        }

        fn load_at(&self, now: SystemTime) -> Result<PeerIdentity, String> {
            PeerIdentity::load(&self.files(), now).map_err(|error| error.to_string())
        }

        fn complaint(&self) -> String {
            self.load_at(SystemTime::now()).map(|identity| identity.name).unwrap_err()
        }
    }

    #[test]
    fn an_issued_certificate_is_accepted_and_says_who() {
        let node = Directory::new();
        let identity = node.load_at(SystemTime::now()).unwrap();
        let name = NodeName { cluster: node.ca.cluster(), node: 4 };
        assert_eq!(identity.name, name);
        assert!(identity.require_name(name).is_ok());
        let other = identity.require_name(NodeName { node: 5, ..name }).unwrap_err().to_string();
        assert!(other.contains("is for node 4") && other.contains("this is node 5"), "{other}");
        let mode = fs::metadata(node.files().key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn each_fault_is_named_with_its_file() {
        type Fault<'a> = (&'a dyn Fn(&Directory), &'a str, &'a str);
        let faults: [Fault<'_>; 7] = [
            (&|node| fs::remove_file(node.files().key).unwrap(), "node.key", "does not exist"),
            (&|node| fs::write(node.files().key, "?").unwrap(), "node.key", "not a PEM file"),
            (&|node| fs::write(node.files().certificate, "?").unwrap(), "node.crt", "holds none"),
            (&|node| fs::write(node.files().ca, "").unwrap(), "ca.crt", "not a PEM file"),
            (
                &|node| {
                    fs::remove_file(node.files().certificate).unwrap();
                    fs::create_dir(node.files().certificate).unwrap();
                },
                "node.crt",
                "cannot read",
            ),
            (
                &|node| {
                    let other = node.ca.issue_node(4, SystemTime::now()).unwrap();
                    fs::write(node.files().key, other.key_pem).unwrap();
                },
                "node.key",
                "not the private key of",
            ),
            (
                &|node| {
                    let other = Directory::new();
                    fs::copy(other.files().ca, node.files().ca).unwrap();
                },
                "ca.crt",
                "was not issued by",
            ),
        ];
        for (break_it, file, complaint) in faults {
            let node = Directory::new();
            break_it(&node);
            let error = node.complaint();
            assert!(error.contains(file) && error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn certificates_have_their_time() {
        let node = Directory::new();
        let expires = node.load_at(SystemTime::now()).unwrap().expires;
        let expired = node.load_at(expires + 3 * DAY).unwrap_err();
        assert!(expired.contains("expired 3 days ago"), "{expired}");
        let early = node.load_at(SystemTime::now() - 3 * DAY).unwrap_err();
        assert!(early.contains("not valid yet"), "{early}");
    }

    #[test]
    fn an_authority_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, now) = (directory.path(), SystemTime::now());
        let ca = ClusterCa::create(ClusterId::random(), now).unwrap();
        ca.save(path).unwrap();
        assert!(matches!(ca.save(path), Err(PkiError::Exists { .. })));
        let mode = fs::metadata(path.join(CA_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = ClusterCa::load(path).unwrap();
        assert_eq!(again.cluster(), ca.cluster());
        again.issue_node(1, now).unwrap().save(path).unwrap();
        assert!(PeerIdentity::load(&IdentityFiles::in_directory(path), now).is_ok());
        let stranger = ClusterCa::create(ClusterId::random(), now).unwrap();
        let key = tempfile::tempdir().unwrap();
        stranger.save(key.path()).unwrap();
        fs::copy(key.path().join(CA_KEY), path.join(CA_KEY)).unwrap();
        assert!(matches!(ClusterCa::load(path), Err(PkiError::KeyMismatch { .. })));
    }

    #[test]
    fn the_certificate_of_an_authority_is_no_node() {
        let node = Directory::new();
        node.ca.save(&node.directory.path().join("nowhere")).unwrap_err();
        let directory = tempfile::tempdir().unwrap();
        node.ca.save(directory.path()).unwrap();
        fs::copy(directory.path().join(CA_CERTIFICATE), node.files().certificate).unwrap();
        fs::copy(directory.path().join(CA_KEY), node.files().key).unwrap();
        let error = node.complaint();
        assert!(error.contains("node.crt") && error.contains("not the certificate of a node"));
    }
}
