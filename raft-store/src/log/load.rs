//! Opening the log's database: nothing is believed before it has been checked.

use openraft::EntryPayload;
use rocksdb::{DB, Direction, IteratorMode, WriteOptions};
use serde::de::DeserializeOwned;
use synckairos_protocol::codec::{self, DecodeError, Kind};

use super::{
    keys,
    mark::{Mark, MarkFile},
    stamp::LastStamp,
    tail::Tail,
};
use crate::{
    error::OpenError,
    identity::{self, Identity},
    layout::Layout,
    log_index::next_index,
    raft_types::{Entry, LogId, Vote},
    rocks,
    wire::{ENTRY_FORMAT, EntryV1, LOG_ID_FORMAT, LogIdV1, VOTE_FORMAT, VoteV1},
};

/// Memory for entries that followers are likely to ask for.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;

pub(super) struct Loaded {
    pub(super) db: DB,
    pub(super) tail: Tail,
    pub(super) last_stamp: LastStamp,
    pub(super) mark: MarkFile,
}

/// Opens the database and reads all of the log once.
pub(super) fn load(layout: &Layout, identity: &Identity) -> Result<Loaded, OpenError> {
    let path = layout.raft();
    let named = identity.check_file(layout)?;
    let mark = MarkFile::open(layout)?;
    let known = named || mark.is_some();
    // RocksDB writes this file last when it makes a database.
    let exists = path.join("CURRENT").exists();
    if known && !exists {
        return Err(OpenError::LogMissing { directory: layout.root().to_owned() });
    }
    let db = rocks::open_raft(&path)
        .map_err(|error| OpenError::UnreadableLog { path, reason: error.to_string() })?;
    check_identity(&db, layout, identity, known)?;
    if !named {
        identity.write_file(layout)?;
    }
    let (tail, last_stamp) = scan(&db)?;
    let found = Mark { sequence: db.latest_sequence_number(), last: tail.last(), vote: tail.vote };
    let mark = check_mark(&db, layout, mark, found)?;
    Ok(Loaded { db, tail, last_stamp, mark })
}

/// The identity is the first thing written to the log, so a log without one has lost everything.
fn check_identity(
    db: &DB,
    layout: &Layout,
    identity: &Identity,
    known: bool,
) -> Result<(), OpenError> {
    let meta = rocks::family(db, rocks::META);
    if let Some(stored) = db.get_cf(meta, keys::IDENTITY).map_err(unreadable(layout))? {
        return identity.check(&stored, layout);
    }
    if known {
        return Err(OpenError::LogMissing { directory: layout.root().to_owned() });
    }
    db.put_cf_opt(meta, keys::IDENTITY, identity.encode(), &synced()).map_err(unreadable(layout))
}

/// The log must hold what was acknowledged. What it holds beyond that is from now on as good as
/// acknowledged, because openraft is told of it.
fn check_mark(
    db: &DB,
    layout: &Layout,
    file: Option<MarkFile>,
    found: Mark,
) -> Result<MarkFile, OpenError> {
    let meta = rocks::family(db, rocks::META);
    let noted = db.get_cf(meta, keys::MARKED).map_err(unreadable(layout))?.is_some();
    let path = layout.acknowledged();
    let file = match file {
        Some(mut file) => {
            if !file.mark().is_kept_by(&found) {
                return Err(OpenError::AcknowledgedLost {
                    path: layout.raft(),
                    acknowledged: file.mark().to_string(),
                    found: found.to_string(),
                });
            }
            file.raise(found).map_err(OpenError::io("write", &path))?;
            file
        }
        None if noted => return Err(OpenError::MarkMissing { path }),
        None => MarkFile::create(layout, found)?,
    };
    if !noted {
        // After the file, or a crash between would make it look lost.
        db.put_cf_opt(meta, keys::MARKED, [], &synced()).map_err(unreadable(layout))?;
    }
    Ok(file)
}

fn unreadable(layout: &Layout) -> impl Fn(rocksdb::Error) -> OpenError {
    let path = layout.raft();
    move |error| OpenError::UnreadableLog { path: path.clone(), reason: error.into() }
}

fn synced() -> WriteOptions {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    synced
}

/// Checks that the log has no hole from its beginning to its end, and that every entry is whole.
fn scan(db: &DB) -> Result<(Tail, LastStamp), OpenError> {
    let vote: Option<VoteV1> = meta(db, keys::VOTE, Kind::Vote, VOTE_FORMAT, "the vote")?;
    let position = |key, what| meta::<LogIdV1>(db, key, Kind::LogPosition, LOG_ID_FORMAT, what);
    let purged = position(keys::PURGED, "the beginning of the log")?.map(LogId::from);
    let committed = position(keys::COMMITTED, "how far the log is committed")?.map(LogId::from);

    let stored_from = first_key(db)?.unwrap_or_else(|| next_index(purged));
    let last_stamp = LastStamp::default();
    let mut last = purged;
    let log = rocks::family(db, rocks::LOG);
    let from = keys::of(next_index(purged));
    for item in db.iterator_cf(log, IteratorMode::From(&from, Direction::Forward)) {
        let index = next_index(last);
        let corrupt = |reason: String| OpenError::CorruptLog { index, reason };
        let (key, value) = item.map_err(|error| corrupt(error.into()))?;
        let entry = decode_entry(&value).map_err(|error| match error {
            DecodeError::NewerFormat { actual, newest, .. } => {
                OpenError::NewerFormat { what: "a log entry", found: actual, newest }
            }
            DecodeError::Truncated { .. }
            | DecodeError::NotOurs
            | DecodeError::WrongKind { .. }
            | DecodeError::WrongLength { .. }
            | DecodeError::Damaged { .. }
            | DecodeError::Payload { .. } => corrupt(error.to_string()),
        })?;
        if keys::index_of(&key) != Some(index) || entry.log_id.index != index {
            let found = keys::index_of(&key);
            return Err(corrupt(format!("key {found:?} holds entry {}", entry.log_id)));
        }
        if last.is_some_and(|last| entry.log_id < last) {
            return Err(corrupt(format!("entry {} follows {last:?}", entry.log_id)));
        }
        last_stamp.see(&entry);
        last = Some(entry.log_id);
    }

    let mut tail = Tail::new(purged, last, stored_from, RECENT_BYTES_MAX);
    tail.vote = vote.map(Vote::from);
    // A position beyond the end can only come from a crash while a snapshot was being installed.
    tail.committed = committed.filter(|committed| committed.index < next_index(last));
    Ok((tail, last_stamp))
}

/// The lowest key there is: entries that were purged but not yet removed come first.
fn first_key(db: &DB) -> Result<Option<u64>, OpenError> {
    let log = rocks::family(db, rocks::LOG);
    let corrupt = |index, reason| OpenError::CorruptLog { index, reason };
    match db.iterator_cf(log, IteratorMode::Start).next() {
        None => Ok(None),
        Some(Err(error)) => Err(corrupt(0, error.into())),
        Some(Ok((key, _))) => match keys::index_of(&key) {
            Some(index) => Ok(Some(index)),
            None => Err(corrupt(0, format!("key of {} bytes", key.len()))),
        },
    }
}

fn meta<T: DeserializeOwned>(
    db: &DB,
    key: &[u8],
    kind: Kind,
    newest: u16,
    what: &'static str,
) -> Result<Option<T>, OpenError> {
    let stored = db.get_cf(rocks::family(db, rocks::META), key);
    let stored =
        stored.map_err(|error| OpenError::CorruptMeta { what, reason: error.to_string() })?;
    let Some(stored) = stored else { return Ok(None) };
    codec::decode(kind, newest, &stored)
        .map(Some)
        .map_err(|error| identity::unreadable(what, error))
}

/// One stored entry.
pub(super) fn decode_entry(value: &[u8]) -> Result<Entry, DecodeError> {
    let entry: EntryV1<'_> = codec::decode(Kind::LogEntry, ENTRY_FORMAT, value)?;
    entry
        .into_entry()
        .map_err(|error| DecodeError::Payload { kind: Kind::LogEntry, reason: error.to_string() })
}

/// Commands in an entry.
pub(super) fn command_count(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.commands.len() as u64,
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}
