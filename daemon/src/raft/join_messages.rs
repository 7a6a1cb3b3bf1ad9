//! What a node that is no member yet asks, and what it is told. Frozen as all messages are: a change
//! is a new struct and a higher format number, enum variants are appended only.

use std::fmt;

use serde::{Deserialize, Serialize};
use synckairos_protocol::codec::Kind;

use super::frames::Frame;

/// Let me in. Sent once on the only stream of a connection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequestV1 {
    /// The token's id.
    pub(crate) token: [u8; 16],
    pub(crate) secret: [u8; 32],
    /// For a certificate: PKCS #10, DER. Only its key counts.
    pub(crate) csr: Vec<u8>,
    /// Where the node will be reached, `host:port`.
    pub(crate) peer: String,
    pub(crate) http: String,
    /// The versions of the peer protocol that it speaks.
    pub(crate) oldest: u16,
    pub(crate) newest: u16,
}

/// Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JoinReplyV1 {
    Welcome(WelcomedV1),
    Refused {
        /// For the operator of the node that asks.
        message: String,
        /// Asking again, here or elsewhere, may help.
        retryable: bool,
    },
}

/// All that makes the node a member.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WelcomedV1 {
    pub(crate) node: u64,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) ca: String,
    /// PEM, so that this node can let others in.
    pub(crate) ca_key: String,
    /// The format level of the cluster.
    pub(crate) level: u16,
}

impl Frame for JoinRequestV1 {
    const KIND: Kind = Kind::JoinRequest;
}

impl Frame for JoinReplyV1 {
    const KIND: Kind = Kind::JoinReply;
}

impl fmt::Debug for JoinRequestV1 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinRequestV1")
            .field("peer", &self.peer)
            .field("http", &self.http)
            .field("oldest", &self.oldest)
            .field("newest", &self.newest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WelcomedV1 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WelcomedV1")
            .field("node", &self.node)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}
