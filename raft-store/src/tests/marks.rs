//! The mark of what was acknowledged: no end of the log is lost without a word, and no crash makes
//! a sound log look as if it had lost one.

use std::{fs, path::Path, sync::Arc};

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use rocksdb::WriteOptions;
use synckairos_protocol::codec::{self, Kind};
use tempfile::TempDir;

use super::{blank, copy, log_id};
use crate::{
    Identity, LogStore, OpenError,
    fatal::FatalSignal,
    layout::{Closed, DirectoryLock, Layout},
    log::FORM_BYTES,
    raft_types::{LogId, Vote},
    rocks,
    wire::{VOTE_FORMAT, VoteV1},
};

const MARK: &str = "ACKNOWLEDGED";
const SLOT_BYTES: usize = 4096;

/// The log of a directory, without the state beside it.
pub(super) struct Log {
    pub(super) store: LogStore,
    closed: Closed,
}

/// What a start finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    purged: Option<LogId>,
    entries: Vec<LogId>,
    vote: Option<Vote>,
}

impl Log {
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let layout = Layout::create(directory)?;
        let (lock, closed) = DirectoryLock::take(&layout)?;
        let identity = Identity { cluster: String::from("test"), node: 1 };
        let store = LogStore::open(&layout, &identity, FatalSignal::new().0, Arc::new(lock))?;
        Ok(Self { store, closed })
    }

    pub(super) async fn close(self) {
        drop(self.store);
        self.closed.wait().await;
    }

    pub(super) async fn append(&mut self, entries: impl IntoIterator<Item = (u64, u64)>) {
        let entries: Vec<_> = entries.into_iter().map(|(term, at)| blank(term, at)).collect();
        self.store.blocking_append(entries).await.unwrap();
    }

    async fn found(&mut self) -> Found {
        let purged = self.store.get_log_state().await.unwrap().last_purged_log_id;
        let entries = super::log_ids(&mut self.store).await;
        let vote = self.store.get_log_reader().await.read_vote().await.unwrap();
        Found { purged, entries, vote }
    }
}

pub(super) async fn start(directory: &Path) -> Result<Found, OpenError> {
    let mut log = Log::open(directory)?;
    let found = log.found().await;
    log.close().await;
    Ok(found)
}

fn lost(result: Result<Found, OpenError>, case: &str) {
    let error = result.expect_err(case);
    assert!(matches!(error, OpenError::AcknowledgedLost { .. }), "{case}: {error}");
    assert!(error.is_damage() && error.to_string().contains("new node id"), "{case}: {error}");
}

/// Everything that is done to a log, one after the other.
const STEPS: usize = 11;

async fn step(log: &mut LogStore, number: usize) {
    let entries = |term, range: std::ops::Range<u64>| range.map(move |index| blank(term, index));
    match number {
        0 => log.save_vote(&Vote::new(1, 1)).await.unwrap(),
        1 => log.blocking_append(entries(1, 0..4)).await.unwrap(),
        2 => log.blocking_append(entries(1, 4..8)).await.unwrap(),
        3 => log.truncate_after(Some(log_id(1, 4))).await.unwrap(),
        4 => log.blocking_append(entries(2, 5..7)).await.unwrap(),
        5 => log.save_vote(&Vote::new(2, 2)).await.unwrap(),
        6 => log.save_vote(&Vote::new_committed(2, 2)).await.unwrap(),
        7 => {
            log.purge(log_id(1, 3)).await.unwrap();
            log.truncate_after(Some(log_id(1, 3))).await.unwrap();
        }
        8 => log.blocking_append(entries(2, 4..6)).await.unwrap(),
        9 => {
            // As after a snapshot that goes beyond the end.
            log.purge(log_id(2, 20)).await.unwrap();
            log.blocking_append(entries(3, 21..22)).await.unwrap();
        }
        10 => {
            log.save_committed(Some(log_id(3, 21))).await.unwrap();
            log.save_vote(&Vote::new(4, 1)).await.unwrap();
        }
        _ => unreachable!("step {number}"),
    }
}

/// A log as a process that is killed leaves it after each step, and what is in it.
async fn history() -> Vec<(TempDir, Found)> {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::open(directory.path()).unwrap();
    let mut copies = vec![(copy(directory.path()), log.found().await)];
    for number in 0..STEPS {
        step(&mut log.store, number).await;
        copies.push((copy(directory.path()), log.found().await));
    }
    log.close().await;
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_opens_with_every_mark_up_to_its_own_and_with_no_later_one() {
    let copies = history().await;
    for (log, (directory, expected)) in copies.iter().enumerate() {
        for (mark, (marked, _)) in copies.iter().enumerate() {
            let case = format!("log after step {log}, mark of step {mark}");
            let joined = copy(directory.path());
            fs::copy(marked.path().join(MARK), joined.path().join(MARK)).unwrap();
            let result = start(joined.path()).await;
            if mark <= log {
                assert_eq!(&result.expect(&case), expected, "{case}");
                // What was found is acknowledged from now on.
                fs::remove_dir_all(joined.path().join("raft")).unwrap();
                let earlier = copy(copies[log.saturating_sub(1)].0.path());
                fs::rename(earlier.path().join("raft"), joined.path().join("raft")).unwrap();
                if log != 0 {
                    lost(start(joined.path()).await, &case);
                }
            } else {
                lost(result, &case);
                // Nor does it start when it is tried again.
                lost(start(joined.path()).await, &case);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_the_last_write_outlives_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::open(directory.path()).unwrap();
    log.append((0..12_000).map(|index| (1, index))).await;
    log.store.purge(log_id(1, 11_000)).await.unwrap();
    log.store.truncate_after(Some(log_id(1, 11_100))).await.unwrap();
    let expected = log.found().await;
    log.close().await;
    for round in 0..4 {
        assert_eq!(start(directory.path()).await.unwrap(), expected, "{round}");
        let db = rocks::open_raft(&Layout::create(directory.path()).unwrap().raft()).unwrap();
        for family in [rocks::LOG, rocks::META] {
            db.compact_range_cf(rocks::family(&db, family), None::<&[u8]>, None::<&[u8]>);
        }
    }
}

/// The release before knows of no mark, and may write and truncate as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_marks_may_have_been_there_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::open(directory.path()).unwrap();
    log.append((0..9).map(|index| (1, index))).await;
    log.store.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    log.close().await;
    let mark = fs::read(directory.path().join(MARK)).unwrap();
    {
        let db = rocks::open_raft(&Layout::create(directory.path()).unwrap().raft()).unwrap();
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        for index in (5u64..9).rev() {
            let key = index.to_be_bytes();
            db.delete_cf_opt(rocks::family(&db, rocks::LOG), key, &synced).unwrap();
        }
        let vote = VoteV1 { term: 2, voted_for: 2, committed: false };
        let vote = codec::encode(Kind::Vote, VOTE_FORMAT, &vote).unwrap();
        db.put_cf_opt(rocks::family(&db, rocks::META), "vote", vote, &synced).unwrap();
    }
    assert_eq!(fs::read(directory.path().join(MARK)).unwrap(), mark);
    let found = start(directory.path()).await.unwrap();
    assert_eq!(found.entries, (0..5).map(|index| log_id(1, index)).collect::<Vec<_>>());
    assert_eq!(found.vote, Some(Vote::new(2, 2)));
    assert_ne!(fs::read(directory.path().join(MARK)).unwrap(), mark);

    // A vote that went back is one that was lost, whatever was written since.
    let db = rocks::open_raft(&Layout::create(directory.path()).unwrap().raft()).unwrap();
    let vote = VoteV1 { term: 1, voted_for: 1, committed: true };
    let vote = codec::encode(Kind::Vote, VOTE_FORMAT, &vote).unwrap();
    db.put_cf(rocks::family(&db, rocks::META), "vote", vote).unwrap();
    drop(db);
    lost(start(directory.path()).await, "a vote that went back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_a_mark_gets_one_and_must_keep_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::open(directory.path()).unwrap();
    log.append((0..3).map(|index| (1, index))).await;
    let expected = log.found().await;
    log.close().await;
    let path = directory.path().join(MARK);

    // As the first release left it, and as a crash does before the database says that there is one.
    let without_note = || {
        let db = rocks::open_raft(&Layout::create(directory.path()).unwrap().raft()).unwrap();
        db.delete_cf(rocks::family(&db, rocks::META), "marked").unwrap();
    };
    without_note();
    assert_eq!(start(directory.path()).await.unwrap(), expected);
    without_note();
    fs::remove_file(&path).unwrap();
    assert_eq!(start(directory.path()).await.unwrap(), expected);
    assert_eq!(fs::metadata(&path).unwrap().len(), 2 * SLOT_BYTES as u64);

    fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let error = start(directory.path()).await.unwrap_err();
        assert!(matches!(error, OpenError::MarkMissing { .. }), "{error}");
        assert!(error.is_damage() && error.to_string().contains("new node id"), "{error}");
        assert!(!path.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_without_a_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    Log::open(directory.path()).unwrap().close().await;
    fs::remove_dir_all(directory.path().join("raft")).unwrap();
    fs::remove_file(directory.path().join("IDENTITY")).unwrap();
    let error = start(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whole_place_of_the_mark_is_enough_and_none_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::open(directory.path()).unwrap();
    for index in 0..3 {
        log.append([(1, index)]).await;
    }
    let copied = copy(directory.path());
    let expected = log.found().await;
    log.close().await;
    let path = copied.path().join(MARK);
    let whole = fs::read(&path).unwrap();
    let form = |bytes: &[u8], slot| bytes[slot..][..FORM_BYTES].to_vec();
    // The number of the write is the first thing that differs, and less than 256 here.
    let newest = form(&whole, 0).max(form(&whole, SLOT_BYTES));
    let with = async |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        let damaged = copy(copied.path());
        fs::write(damaged.path().join(MARK), bytes).unwrap();
        (start(damaged.path()).await, fs::read(damaged.path().join(MARK)).unwrap())
    };

    for at in 0..FORM_BYTES {
        let slot = [0, SLOT_BYTES][at % 2];
        let (found, after) = with(&|bytes| bytes[slot + at] ^= 0x20).await;
        assert_eq!(found.unwrap(), expected, "byte {at} of {slot}");
        assert_eq!(form(&after, slot), newest, "byte {at} of {slot}: it is written next");
    }
    for at in (0..FORM_BYTES).step_by(8) {
        let (refused, _) = with(&|bytes| {
            bytes[at] ^= 0x20;
            bytes[SLOT_BYTES + FORM_BYTES - 1 - at] ^= 0x20;
        })
        .await;
        let error = refused.unwrap_err();
        assert!(matches!(error, OpenError::CorruptMeta { .. }), "byte {at} of both: {error}");
        assert!(error.is_damage() && error.to_string().contains("new node id"), "{error}");
    }
    for length in [0, 1, FORM_BYTES - 1] {
        let (refused, _) = with(&|bytes| bytes.truncate(length)).await;
        assert!(refused.unwrap_err().is_damage(), "{length} bytes");
    }
    let (found, _) = with(&|bytes| bytes.truncate(SLOT_BYTES)).await;
    assert_eq!(found.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_a_newer_version_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    Log::open(directory.path()).unwrap().close().await;
    let path = directory.path().join(MARK);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let hashed = FORM_BYTES - blake3::OUT_LEN;
    let hash = blake3::hash(&bytes[..hashed]);
    bytes[hashed..FORM_BYTES].copy_from_slice(hash.as_bytes());
    fs::write(&path, bytes).unwrap();
    let error = start(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, newest: 1, .. }), "{error}");
}
