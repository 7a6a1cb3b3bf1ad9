//! Whose data a directory holds. Written at the first start, compared at every later one.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use synckairos_protocol::codec::{self, DecodeError, Kind};

use crate::{error::OpenError, layout, layout::Layout};

/// Format of the data directory as a whole.
const IDENTITY_FORMAT: u16 = 1;

/// The node that a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster: String,
    pub node: u64,
}

impl Identity {
    /// Whose data `data_dir` holds; `None` where no node has ever started there.
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be read.
    pub fn of(data_dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = Layout::at(data_dir).identity();
        match fs::read(&path) {
            Ok(stored) => Self::decode(&stored).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::io("read", &path)(error)),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(Kind::NodeIdentity, IDENTITY_FORMAT, self)
            .expect("an identity is far below the limit of a frame")
    }

    /// Refuses data of another cluster, of another node, or of a newer format.
    pub(crate) fn check(&self, stored: &[u8], layout: &Layout) -> Result<(), OpenError> {
        let found = Self::decode(stored)?;
        let directory = layout.root().to_owned();
        if found.cluster != self.cluster {
            let configured = self.cluster.clone();
            return Err(OpenError::OtherCluster { directory, found: found.cluster, configured });
        }
        if found.node != self.node {
            let configured = self.node;
            return Err(OpenError::OtherNode { directory, found: found.node, configured });
        }
        Ok(())
    }

    fn decode(stored: &[u8]) -> Result<Self, OpenError> {
        let what = "the identity of the data directory";
        codec::decode(Kind::NodeIdentity, IDENTITY_FORMAT, stored)
            .map_err(|error| unreadable(what, error))
    }

    /// Compares with the file, where there is one.
    pub(crate) fn check_file(&self, layout: &Layout) -> Result<bool, OpenError> {
        let path = layout.identity();
        match fs::read(&path) {
            Ok(stored) => self.check(&stored, layout).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(OpenError::io("read", &path)(error)),
        }
    }

    pub(crate) fn write_file(&self, layout: &Layout) -> Result<(), OpenError> {
        let path = layout.identity();
        layout::replace_file(&path, &self.encode()).map_err(OpenError::io("write", &path))
    }
}

/// A stored unit that is not a log entry cannot be decoded.
pub(crate) fn unreadable(what: &'static str, error: DecodeError) -> OpenError {
    match error {
        DecodeError::NewerFormat { actual, newest, .. } => {
            OpenError::NewerFormat { what, found: actual, newest }
        }
        DecodeError::Truncated { .. }
        | DecodeError::NotOurs
        | DecodeError::WrongKind { .. }
        | DecodeError::WrongLength { .. }
        | DecodeError::Damaged { .. }
        | DecodeError::Payload { .. } => OpenError::CorruptMeta { what, reason: error.to_string() },
    }
}
