//! The one binary form of everything that is stored or sent between nodes: bincode inside an
//! envelope that says what it holds, in which format, and whether it is whole.
//!
//! ```text
//! magic "SK" | kind u8 | format u16 | flags u8 | length u32 | crc32c u32 | payload
//! ```
//!
//! All numbers are little-endian. The checksum covers kind, format, flags, length and payload.

use serde::{Serialize, de::DeserializeOwned};

use crate::limits;

const MAGIC: [u8; 2] = *b"SK";
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 14;

/// What an envelope holds. Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    LogEntry = 1,
    Vote = 2,
    LogPosition = 3,
    NodeIdentity = 4,
    SessionRow = 5,
    StateMeta = 6,
    SnapshotHeader = 7,
    SnapshotChunk = 8,
    SnapshotTrailer = 9,
    AnsweredRow = 10,
    UpdateRow = 11,
    RosterRow = 12,
    BackupManifest = 13,
    JoinToken = 14,
    PeerHello = 16,
    PeerRequest = 17,
    PeerReply = 18,
    JoinRequest = 19,
    JoinReply = 20,
}

/// A stored or received unit could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{actual} bytes, at least {HEADER_BYTES} expected")]
    Truncated { actual: usize },
    #[error("does not start with the magic bytes of SyncKairos")]
    NotOurs,
    #[error("holds kind {actual}, {expected:?} expected")]
    WrongKind { actual: u8, expected: Kind },
    #[error("{kind:?} in format {actual}, this version reads up to {newest}: upgrade this node")]
    NewerFormat { kind: Kind, actual: u16, newest: u16 },
    #[error("{actual} bytes of payload, {announced} announced")]
    WrongLength { actual: usize, announced: usize },
    #[error("checksum {actual:08x}, {announced:08x} announced: the bytes were damaged")]
    Damaged { actual: u32, announced: u32 },
    #[error("payload of {kind:?}: {reason}")]
    Payload { kind: Kind, reason: String },
}

/// A value cannot be put into binary form; a bug of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {kind:?}: {reason}")]
pub struct EncodeError {
    pub kind: Kind,
    pub reason: String,
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_variable_int_encoding()
        .with_limit::<{ limits::FRAME_BYTES_MAX }>()
}

/// The envelope around `value`.
///
/// # Errors
/// [`EncodeError`] where the value has no bincode form or is over [`limits::FRAME_BYTES_MAX`].
pub fn encode<T: Serialize>(kind: Kind, format: u16, value: &T) -> Result<Vec<u8>, EncodeError> {
    let fail = |reason: String| EncodeError { kind, reason };
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..2].copy_from_slice(&MAGIC);
    bytes[2] = kind as u8;
    bytes[3..5].copy_from_slice(&format.to_le_bytes());
    bincode::serde::encode_into_std_write(value, &mut bytes, config())
        .map_err(|error| fail(error.to_string()))?;
    let length = bytes.len() - HEADER_BYTES;
    if limits::FRAME_BYTES_MAX < length {
        return Err(fail(format!("{length} bytes, at most {}", limits::FRAME_BYTES_MAX)));
    }
    let length = u32::try_from(length).map_err(|error| fail(error.to_string()))?;
    bytes[6..10].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[10..14].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The format that an envelope says it has; nothing of it is checked.
pub fn format_of(bytes: &[u8]) -> Option<u16> {
    let format = bytes.get(3..5)?.try_into().ok()?;
    Some(u16::from_le_bytes(format))
}

/// Reads an envelope of `kind` in a format up to `newest` that has this form, and nothing
/// after it.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes; nothing is ever guessed.
pub fn decode<T: DeserializeOwned>(
    kind: Kind,
    newest: u16,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    if bytes.len() < HEADER_BYTES {
        return Err(DecodeError::Truncated { actual: bytes.len() });
    }
    let (header, payload) = bytes.split_at(HEADER_BYTES);
    if header[..2] != MAGIC {
        return Err(DecodeError::NotOurs);
    }
    let announced = u32::from_le_bytes([header[6], header[7], header[8], header[9]]) as usize;
    if payload.len() != announced {
        return Err(DecodeError::WrongLength { actual: payload.len(), announced });
    }
    let announced = u32::from_le_bytes([header[10], header[11], header[12], header[13]]);
    let actual = checksum(bytes);
    if actual != announced {
        return Err(DecodeError::Damaged { actual, announced });
    }
    if header[2] != kind as u8 {
        return Err(DecodeError::WrongKind { actual: header[2], expected: kind });
    }
    let format = u16::from_le_bytes([header[3], header[4]]);
    if format == 0 || newest < format {
        return Err(DecodeError::NewerFormat { kind, actual: format, newest });
    }
    let fail = |reason: String| DecodeError::Payload { kind, reason };
    let (value, read) = bincode::serde::decode_from_slice(payload, config())
        .map_err(|error| fail(error.to_string()))?;
    if read != payload.len() {
        return Err(fail(format!("{} bytes left over", payload.len() - read)));
    }
    Ok(value)
}

fn checksum(envelope: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&envelope[2..10]), &envelope[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode(Kind::SessionRow, 1, &("word", 7u64)).unwrap();
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                let read = decode::<(String, u64)>(Kind::SessionRow, 1, &damaged);
                assert!(read.is_err(), "bit {bit} of byte {position}");
            }
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = encode(Kind::SessionRow, 1, &("word", 7u64)).unwrap();
        for length in 0..bytes.len() {
            assert!(decode::<(String, u64)>(Kind::SessionRow, 1, &bytes[..length]).is_err());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decode::<(String, u64)>(Kind::SessionRow, 1, &longer).is_err());
    }

    #[test]
    fn newer_formats_and_other_kinds_are_refused_by_name() {
        let bytes = encode(Kind::Vote, 2, &1u8).unwrap();
        assert_eq!(
            decode::<u8>(Kind::Vote, 1, &bytes),
            Err(DecodeError::NewerFormat { kind: Kind::Vote, actual: 2, newest: 1 })
        );
        assert_eq!(
            decode::<u8>(Kind::LogEntry, 2, &bytes),
            Err(DecodeError::WrongKind { actual: 2, expected: Kind::LogEntry })
        );
    }
}
