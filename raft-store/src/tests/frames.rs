//! Wrong bits in the files of a short log, also in the frames around its records, which RocksDB
//! trusts: each is noticed.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use rocksdb::{DB, WriteOptions};
use tempfile::TempDir;

use super::{
    Node, commands, copy, create,
    marks::{Log, start},
};
use crate::{
    raft_types::Vote,
    rocks::{self, DatabaseError},
    rocks_files::FilesError,
};

const FRAME_BYTES: usize = 7;
const BLOCK_BYTES: usize = 32 * 1024;

/// Where each record of a file that fits in one block is, with its frame.
fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    assert!(bytes.len() < BLOCK_BYTES);
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        records.push(at..at + FRAME_BYTES + length);
        at += FRAME_BYTES + length;
    }
    assert_eq!(at, bytes.len());
    records
}

/// Every bit of every length and type, one of each byte of the sums, and one of each so many bytes
/// of what is in the records.
fn flips(bytes: &[u8], step: usize) -> Vec<(usize, u8)> {
    let mut flips = Vec::new();
    let one = |at: usize| (at, 1 << (at % 8));
    for record in records(bytes) {
        let (length, body) = (record.start + 4, record.start + FRAME_BYTES);
        flips.extend((record.start..length).map(one));
        for at in length..body {
            flips.extend((0..8).map(|bit| (at, 1 << bit)));
        }
        flips.extend((body..record.end).step_by(step).map(one));
    }
    flips
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

/// A log with some of it in tables and the newest of it in the write-ahead file, copied while open.
async fn short_log() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::open(directory.path()).unwrap();
    log.append((0..3).map(|index| (1, index))).await;
    log.store.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    log.close().await;
    let mut log = Log::open(directory.path()).unwrap();
    log.append([(1, 3), (1, 4)]).await;
    log.store.truncate_after(Some(super::log_id(1, 3))).await.unwrap();
    log.store.save_vote(&Vote::new(2, 3)).await.unwrap();
    log.append([(2, 4)]).await;
    let batch = commands(2, 5, 7_000, vec![create(5)]);
    log.store.blocking_append([batch]).await.unwrap();
    log.store.save_vote(&Vote::new_committed(2, 3)).await.unwrap();
    log.append([(2, 6)]).await;
    let copied = copy(directory.path());
    log.close().await;
    copied
}

/// Flips each of these bits in a file of its own copy; returns how many of those open, with all
/// that was acknowledged.
async fn flip_each(original: &TempDir, name: &Path, flips: &[(usize, u8)]) -> usize {
    let expected = start(copy(original.path()).path()).await.unwrap();
    let whole = fs::read(original.path().join(name)).unwrap();
    let mut harmless = 0;
    for (at, bit) in flips {
        let case = format!("bit {bit:#x} of byte {at} of {}", name.display());
        let damaged = copy(original.path());
        let mut bytes = whole.clone();
        bytes[*at] ^= bit;
        fs::write(damaged.path().join(name), bytes).unwrap();
        match start(damaged.path()).await {
            Ok(found) => {
                assert_eq!(found, expected, "{case}");
                harmless += 1;
            }
            Err(error) => {
                assert!(error.is_damage(), "{case}: {error}");
                assert!(error.to_string().contains("new node id"), "{case}: {error}");
            }
        }
    }
    harmless
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_bit_in_the_write_ahead_file_of_a_short_log_is_overlooked() {
    let original = short_log().await;
    let path = files(&original.path().join("raft"), "log").pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(6 < records(&bytes).len(), "{} records", records(&bytes).len());
    let name = path.strip_prefix(original.path()).unwrap();
    assert_eq!(flip_each(&original, name, &flips(&bytes, 1)).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_bit_in_the_list_of_files_loses_anything() {
    let original = short_log().await;
    let raft = original.path().join("raft");
    let current = fs::read_to_string(raft.join("CURRENT")).unwrap();
    let manifest = Path::new("raft").join(current.trim_end());
    let bytes = fs::read(original.path().join(&manifest)).unwrap();
    let _ = flip_each(&original, &manifest, &flips(&bytes, 8)).await;
    let flips: Vec<_> = (0..current.len()).map(|at| (at, 1 << (at % 8))).collect();
    let _ = flip_each(&original, Path::new("raft/CURRENT"), &flips).await;
}

/// Two files, because one family of the database was written to tables and the other was not.
fn two_files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let db = rocks::open_raft(directory.path()).unwrap();
    let log = rocks::family(&db, rocks::LOG);
    put(&db, rocks::META, "vote", "first");
    put(&db, rocks::LOG, "1", "entry");
    put(&db, rocks::META, "vote", "second");
    db.flush_cf(log).unwrap();
    put(&db, rocks::LOG, "2", "entry");
    put(&db, rocks::LOG, "3", "entry");
    let copied = copy(directory.path());
    assert_eq!(files(copied.path(), "log").len(), 2);
    copied
}

fn put(db: &DB, family: &str, key: &str, value: &str) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.put_cf_opt(rocks::family(db, family), key, value, &synced).unwrap();
}

#[test]
fn no_wrong_bit_at_the_end_of_an_older_file_is_overlooked() {
    let original = two_files();
    assert!(rocks::open_raft(copy(original.path()).path()).is_ok());
    let older = files(original.path(), "log").remove(0);
    let bytes = fs::read(&older).unwrap();
    let last = records(&bytes).pop().unwrap();
    let name = older.file_name().unwrap();
    for (at, bit) in flips(&bytes, 1).into_iter().filter(|(at, _)| last.contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= bit;
        let directory = copy(original.path());
        fs::write(directory.path().join(name), damaged).unwrap();
        let opened = rocks::open_raft(directory.path());
        assert!(opened.is_err(), "bit {bit:#x} of byte {at}");
    }

    // A file that was cut off, and another after it.
    let directory = copy(original.path());
    fs::write(directory.path().join(name), &bytes[..last.end - 1]).unwrap();
    assert!(rocks::open_raft(directory.path()).is_err());
}

/// RocksDB takes zeros for room that was never used, and goes on in the next block.
#[test]
fn records_that_became_zeros_are_missed_by_those_after_them() {
    const RECORD_BYTES: usize = 1024;
    let directory = tempfile::tempdir().unwrap();
    let db = rocks::open_raft(directory.path()).unwrap();
    for number in 0..80 {
        // Frame, head of the batch, type and family of the write, lengths of key and value.
        let value = "x".repeat(RECORD_BYTES - FRAME_BYTES - 12 - 2 - 3 - 8);
        put(&db, rocks::LOG, &format!("{number:08}"), &value);
    }
    let copied = copy(directory.path());
    let name = files(copied.path(), "log").remove(0);
    let mut bytes = fs::read(&name).unwrap();
    assert_eq!(bytes.len(), 80 * RECORD_BYTES);
    bytes[10 * RECORD_BYTES..BLOCK_BYTES].fill(0);
    fs::write(&name, bytes).unwrap();
    let refused = rocks::open_raft(copied.path()).err().unwrap();
    let DatabaseError::Files(FilesError::Hole { expected, actual, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!(actual - expected, 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_in_the_state_does_not_hold_up_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let entries: Vec<_> = super::history(12);
    node.append(entries.clone()).await;
    for entry in entries {
        node.apply([entry]).await;
    }
    let copied = copy(directory.path());
    node.close().await;
    let path = files(&copied.path().join("state.1"), "log").pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let record = records(&bytes).remove(3);
    bytes[record.start + FRAME_BYTES - 1] ^= 4;
    fs::write(&path, bytes).unwrap();
    let node = Node::open(copied.path());
    assert_eq!(node.opened.applied.applied_index(), None, "it is made again from the log");
    node.close().await;
}
