//! A log that begins in the middle: for a node whose state comes from elsewhere.

use rocksdb::{WriteBatch, WriteOptions};
use synckairos_protocol::codec::{self, EncodeError, Kind};

use super::keys;
use crate::{
    identity::Identity,
    layout::Layout,
    raft_types::{LogId, Vote},
    rocks::{self, DatabaseError},
    wire::{LOG_ID_FORMAT, LogIdV1, VOTE_FORMAT, VoteV1},
};

/// A log cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error(transparent)]
    Open(#[from] DatabaseError),
    #[error(transparent)]
    Database(#[from] rocksdb::Error),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Makes the log of a node that has everything up to `purged` in a snapshot and nothing after it.
/// All of it is one write, which is there or is not, so that the first start can set the mark.
pub(crate) fn found(
    layout: &Layout,
    identity: &Identity,
    purged: LogId,
    vote: &Vote,
) -> Result<(), FoundError> {
    let db = rocks::open_raft(&layout.raft())?;
    let meta = rocks::family(&db, rocks::META);
    let position = codec::encode(Kind::LogPosition, LOG_ID_FORMAT, &LogIdV1::from(&purged))?;
    let mut batch = WriteBatch::default();
    batch.put_cf(meta, keys::IDENTITY, identity.encode());
    batch.put_cf(meta, keys::VOTE, codec::encode(Kind::Vote, VOTE_FORMAT, &VoteV1::from(vote))?);
    batch.put_cf(meta, keys::PURGED, &position);
    batch.put_cf(meta, keys::COMMITTED, &position);
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    Ok(db.write_opt(batch, &synced)?)
}
