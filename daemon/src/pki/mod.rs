//! Who is who between nodes: the cluster's own certificate authority, and what it says of a node.
//!
//! A certificate proves one thing: that its holder is node `<id>` of cluster `<uuid>`. It says so
//! in one DNS name, `node-<id>.<uuid>.synckairos.internal`, which nothing ever resolves.

use std::{fmt, path::PathBuf, str::FromStr};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

pub(crate) mod ca;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod pin;
pub(crate) mod request;
pub(crate) mod tls;

/// The cluster's certificate authority, on every node.
pub(crate) const CA_CERTIFICATE: &str = "ca.crt";
/// The authority's private key: only where certificates are issued.
pub(crate) const CA_KEY: &str = "ca.key";
/// This node's certificate.
pub(crate) const NODE_CERTIFICATE: &str = "node.crt";
/// This node's private key.
pub(crate) const NODE_KEY: &str = "node.key";

const NAME_SUFFIX: &str = ".synckairos.internal";

/// Names a cluster, for ever: a UUID in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClusterId(uuid::Uuid);

impl ClusterId {
    /// A new one, never used before.
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.as_hyphenated())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The text is not a UUID in lower case with dashes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cluster id: a UUID in lower case, like 0f8fad5b-d9cb-469f-a165-70867728950e")]
pub(crate) struct NotAClusterId(String);

impl FromStr for ClusterId {
    type Err = NotAClusterId;

    fn from_str(text: &str) -> Result<Self, NotAClusterId> {
        let parsed = uuid::Uuid::try_parse(text).map(Self).ok();
        parsed.filter(|id| id.to_string() == text).ok_or_else(|| NotAClusterId(text.to_owned()))
    }
}

/// What a certificate says of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeName {
    pub(crate) cluster: ClusterId,
    pub(crate) node: u64,
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node-{}.{}{NAME_SUFFIX}", self.node, self.cluster)
    }
}

impl NodeName {
    /// Reads what `Display` writes, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (node, cluster) =
            text.strip_prefix("node-")?.strip_suffix(NAME_SUFFIX)?.split_once('.')?;
        let name = Self { cluster: cluster.parse().ok()?, node: node.parse().ok()? };
        // `node-007` would be a second spelling of the same node.
        (name.to_string() == text).then_some(name)
    }

    /// The one node that `certificate` names.
    ///
    /// # Errors
    /// [`NotANode`] where it names none, or several.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, NotANode> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| NotANode::Unreadable(error.to_string()))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| NotANode::Unreadable(error.to_string()))?;
        let names = names.map_or_else(Vec::new, |names| names.value.general_names.clone());
        let [GeneralName::DNSName(name)] = names[..] else {
            return Err(NotANode::Names(names.len()));
        };
        Self::parse(name).ok_or_else(|| NotANode::Name(name.to_owned()))
    }
}

/// A certificate that is not the certificate of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotANode {
    #[error("not an X.509 certificate: {0}")]
    Unreadable(String),
    #[error("carries {0} names where a node's certificate has exactly one DNS name")]
    Names(usize),
    #[error("names {0:?}, not node-<id>.<cluster id>{NAME_SUFFIX}")]
    Name(String),
}

/// Why a key or a certificate cannot be made or used. Says which file, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    #[error(
        "{path} does not exist; issue this node's certificate where the cluster's {CA_KEY} is, \
         and put {CA_CERTIFICATE}, {NODE_CERTIFICATE} and {NODE_KEY} there"
    )]
    Missing { path: PathBuf },
    #[error("cannot read {path}: {source}; check its owner and its permissions")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("{path} already exists; a cluster has one authority, and it is never replaced")]
    Exists { path: PathBuf },
    #[error("{path} is not a PEM file with {wanted}: {reason}")]
    NotPem { path: PathBuf, wanted: &'static str, reason: String },
    #[error("{key} is not the private key of {certificate}; copy both from the same place")]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("{path} is not the certificate of a node: it {reason}")]
    NotANode { path: PathBuf, reason: NotANode },
    #[error("{path} is for node {} of cluster {}, this is node {} of cluster {}; \
             issue a certificate for this node", found.node, found.cluster, wanted.node, wanted.cluster)]
    OtherNode { path: PathBuf, found: NodeName, wanted: NodeName },
    #[error("{path} expired {days} days ago; issue a new certificate for this node")]
    Expired { path: PathBuf, days: u64 },
    #[error("{path} is not valid yet; check this host's clock")]
    NotYetValid { path: PathBuf },
    #[error("{certificate} was not issued by the authority in {ca}: {reason}")]
    OtherAuthority { certificate: PathBuf, ca: PathBuf, reason: String },
    #[error("{path} is not the certificate of a cluster's authority")]
    NotAnAuthority { path: PathBuf },
    #[error(
        "{path} is the authority of cluster {found}, this is cluster {wanted}; use this cluster's"
    )]
    OtherClustersAuthority { path: PathBuf, found: ClusterId, wanted: ClusterId },
    #[error("the request for a certificate {0}")]
    Request(&'static str),
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_spelling() {
        let cluster = ClusterId::random();
        let name = NodeName { cluster, node: 7 };
        assert_eq!(NodeName::parse(&name.to_string()), Some(name));
        let table = [
            format!("node-007.{cluster}{NAME_SUFFIX}"),
            format!("node-7.{}{NAME_SUFFIX}", cluster.to_string().to_uppercase()),
            format!("node-+7.{cluster}{NAME_SUFFIX}"),
            format!("node-7.{cluster}.example.com"),
            format!("node-.{cluster}{NAME_SUFFIX}"),
            format!("node-7{NAME_SUFFIX}"),
            String::new(),
        ];
        for text in table {
            let upper_is_same = text == name.to_string();
            assert!(upper_is_same || NodeName::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn cluster_ids_are_lower_case() {
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(id.parse::<ClusterId>().unwrap().to_string(), id);
        assert!(id.to_uppercase().parse::<ClusterId>().is_err());
        assert!(id.replace('-', "").parse::<ClusterId>().is_err());
    }
}
