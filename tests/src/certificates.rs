//! A certificate authority for one test, and certificates that are right or wrong on purpose.
//!
//! Made here and not by the program under test, so that both have to agree on what was promised.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
}

/// PEM text.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// # Panics
    /// Where the machine has no randomness.
    pub fn new(cluster_id: &str) -> Self {
        let key = KeyPair::generate().expect("a key pair can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names to refuse");
        let name = format!("SyncKairos cluster {cluster_id}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key).expect("the key can sign").pem();
        let key_pem = key.serialize_pem();
        Self { issuer: Issuer::new(params, key), certificate_pem, key_pem }
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Lets a node issue certificates for those that join: puts `ca.key` into `directory`.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn entrust(&self, directory: &Path) {
        write_private(&directory.join("ca.key"), &self.key_pem);
    }

    /// A certificate for node `node` of `cluster_id`.
    ///
    /// # Panics
    /// Where the machine has no randomness.
    pub fn issue(&self, node: u64, cluster_id: &str) -> Certificate {
        let key = KeyPair::generate().expect("a key pair can be made");
        let name = format!("node-{node}.{cluster_id}.synckairos.internal");
        let mut params = CertificateParams::new(vec![name.clone()]).expect("a valid DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Puts `ca.crt`, `node.crt` and `node.key` into `directory`.
    ///
    /// # Panics
    /// Where the files cannot be written.
    pub fn equip(&self, directory: &Path, node: u64, cluster_id: &str) {
        let issued = self.issue(node, cluster_id);
        write(&directory.join("ca.crt"), &self.certificate_pem);
        write(&directory.join("node.crt"), &issued.certificate);
        write_private(&directory.join("node.key"), &issued.key);
    }
}

/// # Panics
/// Where the file cannot be written.
pub fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// For its owner only.
///
/// # Panics
/// Where the file cannot be written.
pub fn write_private(path: &Path, text: &str) {
    write(path, text);
    let owner_only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, owner_only).expect("the owner may change the mode");
}
