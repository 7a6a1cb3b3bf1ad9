//! Keys of the log's database.

/// Of the family `meta`.
pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const VOTE: &[u8] = b"vote";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const PURGED: &[u8] = b"purged";
/// Is there once the file with the mark is, so that a directory without it has lost it, and is not
/// one of an earlier release.
pub(super) const MARKED: &[u8] = b"marked";

/// Of an entry, in the family `log`; ordered as the indexes are.
pub(super) fn of(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}
