//! The key by which a restarted node tells peers at once that their old connections are gone.
//!
//! QUIC calls it the stateless reset key. With a new key after each start, peers would notice only
//! when their connections time out.

use std::path::Path;

use quinn::crypto::{CryptoError, HmacKey};
use rustls::{
    SupportedCipherSuite,
    crypto::{aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384, tls13::OkmBlock},
};

use crate::pki::{
    PkiError,
    files::{self, Secrecy},
};

const KEY_BYTES: usize = 32;
/// Of HMAC-SHA-384.
const SIGNATURE_BYTES: usize = 48;

/// Kept in the data directory; secret, but worth no more than the connections it could end.
#[derive(Clone)]
pub(crate) struct ResetKey([u8; KEY_BYTES]);

impl ResetKey {
    /// A key that is forgotten when the process ends.
    pub(crate) fn random() -> Self {
        let mut key = [0; KEY_BYTES];
        for part in key.chunks_mut(16) {
            let random = uuid::Uuid::new_v4().into_bytes();
            part.copy_from_slice(&random[..part.len()]);
        }
        Self(key)
    }

    /// Reads the key from `path`, or makes one and keeps it there, readable by its owner only.
    ///
    /// # Errors
    /// [`PkiError`] where the file can be neither read nor written.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, PkiError> {
        match files::read(path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => Ok(Self(key)),
                // Cut short by a crash: a new key costs peers one time-out.
                Err(_) => Self::create(path),
            },
            Err(PkiError::Missing { .. }) => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path) -> Result<Self, PkiError> {
        let key = Self::random();
        files::replace(path, &key.0, Secrecy::Private)?;
        Ok(key)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_256_GCM_SHA384 else {
            return;
        };
        let key = OkmBlock::new(&self.0);
        let tag = suite.hkdf_provider.hmac_sign(&key, data);
        let length = tag.as_ref().len().min(signature_out.len());
        signature_out[..length].copy_from_slice(&tag.as_ref()[..length]);
    }

    fn signature_len(&self) -> usize {
        SIGNATURE_BYTES
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; SIGNATURE_BYTES];
        self.sign(data, &mut expected);
        let differences = expected.iter().zip(signature).fold(0, |all, (a, b)| all | (a ^ b));
        let same = signature.len() == SIGNATURE_BYTES && differences == 0;
        if same { Ok(()) } else { Err(CryptoError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_signs_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("peer-reset.key");
        let first = ResetKey::load_or_create(&path).unwrap();
        let second = ResetKey::load_or_create(&path).unwrap();
        let (mut one, mut two) = ([0; SIGNATURE_BYTES], [0; SIGNATURE_BYTES]);
        first.sign(b"connection", &mut one);
        second.sign(b"connection", &mut two);
        assert_eq!(one, two);
        assert_ne!(one, [0; SIGNATURE_BYTES]);
        assert!(second.verify(b"connection", &one).is_ok());
        assert!(ResetKey::random().verify(b"connection", &one).is_err());
    }
}
