//! Damaged files: an acknowledged write is never lost in silence, whatever happened to the disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use openraft::storage::{RaftLogReader, RaftLogStorage};

use super::{Node, blank, commands, copy, create, history, log_id};
use crate::{OpenError, layout::Layout, raft_types::Vote, rocks};

const ENTRIES: u64 = 300;

/// A directory with a vote before and after the entries, copied while open, so that all of it is
/// in the write-ahead file as after a crash.
async fn written() -> tempfile::TempDir {
    written_and_before().await.0
}

/// The same, and what it was before the second vote.
async fn written_and_before() -> (tempfile::TempDir, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.opened.log.save_vote(&Vote::new(1, 1)).await.unwrap();
    for index in 0..ENTRIES {
        node.append([commands(1, index, index, vec![create(index)])]).await;
    }
    let before = copy(directory.path());
    node.opened.log.save_vote(&Vote::new_committed(7, 1)).await.unwrap();
    let copied = copy(directory.path());
    node.close().await;
    (copied, before)
}

fn newest(directory: &Path, suffix: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect();
    files.sort();
    files.pop().unwrap()
}

/// What a start finds: how many entries and which term voted for, or why it is refused.
async fn start(directory: &Path) -> Result<(usize, u64), OpenError> {
    let mut node = Node::try_open(directory)?;
    let entries = node.log_ids().await;
    let vote = node.opened.log.get_log_reader().await.read_vote().await.unwrap();
    Ok((entries.len(), vote.map_or(0, |vote| vote.leader_id.term)))
}

/// Damages the write-ahead file of a fresh copy.
async fn start_after(
    original: &Path,
    damage: impl FnOnce(&mut Vec<u8>),
) -> Result<(usize, u64), OpenError> {
    let damaged = copy(original);
    let wal = newest(&damaged.path().join("raft"), ".log");
    let mut bytes = fs::read(&wal).unwrap();
    damage(&mut bytes);
    fs::write(&wal, bytes).unwrap();
    start(damaged.path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn write_ahead_file_opens_after_a_cut_and_after_nothing_else() {
    let (original, before) = written_and_before().await;
    let whole = (usize::try_from(ENTRIES).unwrap(), 7);
    assert_eq!(start_after(original.path(), |_| ()).await.unwrap(), whole);

    // A record that was cut off while it was written was not acknowledged. Here it is the second
    // vote.
    let unacknowledged = copy(original.path());
    let mark = "ACKNOWLEDGED";
    fs::copy(before.path().join(mark), unacknowledged.path().join(mark)).unwrap();
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 3);
    assert_eq!(start_after(unacknowledged.path(), cut).await.unwrap(), (whole.0, 1));
    let refused = start_after(original.path(), cut).await.unwrap_err();
    assert!(matches!(refused, OpenError::AcknowledgedLost { .. }), "{refused}");
    assert!(refused.to_string().contains("vote of term 7"), "{refused}");

    let flip = |share: usize| {
        move |bytes: &mut Vec<u8>| {
            let position = bytes.len() * share / 100;
            bytes[position] ^= 0x10;
        }
    };
    for share in [1, 10, 25, 50, 75, 95] {
        let refused = start_after(original.path(), flip(share)).await.unwrap_err();
        assert!(refused.is_damage(), "{share} %: {refused}");
        assert!(refused.to_string().contains("new node id"), "{refused}");
    }
    let zeroed = start_after(original.path(), |bytes| {
        let from = bytes.len() - 4_096;
        bytes[from..].fill(0);
    });
    let zeroed = zeroed.await;
    assert!(zeroed.unwrap_err().is_damage(), "the last 4 KiB zeroed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_acknowledged_may_follow_the_last_record() {
    let original = written().await;
    let whole = (usize::try_from(ENTRIES).unwrap(), 7);
    let garbage = start_after(original.path(), |bytes| bytes.extend([0xa5; 100])).await;
    assert_eq!(garbage.unwrap(), whole, "garbage");
    let zeros = start_after(original.path(), |bytes| bytes.extend([0; 5_000])).await;
    assert_eq!(zeros.unwrap(), whole, "zeros");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_write_ahead_file_is_refused() {
    let original = written().await;
    let emptied = copy(original.path());
    fs::remove_file(newest(&emptied.path().join("raft"), ".log")).unwrap();
    let refused = start(emptied.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::LogMissing { .. }), "{refused}");

    let mut node = Node::open(original.path());
    node.opened.log.save_vote(&Vote::new(8, 1)).await.unwrap();
    let restarted = copy(original.path());
    node.close().await;
    fs::remove_file(newest(&restarted.path().join("raft"), ".log")).unwrap();
    // The tables know whose log it is and hold all of it but for the last vote.
    let refused = start(restarted.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::AcknowledgedLost { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_table_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append(history(200)).await;
    node.close().await;
    // A start moves what the write-ahead file holds into a table.
    Node::open(directory.path()).close().await;
    let table = newest(&directory.path().join("raft"), ".sst");
    let original = fs::read(&table).unwrap();
    for share in [1, 20, 50, 80] {
        let mut bytes = original.clone();
        let position = bytes.len() * share / 100;
        bytes[position] ^= 4;
        fs::write(&table, bytes).unwrap();
        let refused = start(directory.path()).await.unwrap_err();
        let is_damage = matches!(
            refused,
            OpenError::CorruptLog { .. }
                | OpenError::UnreadableLog { .. }
                | OpenError::CorruptMeta { .. }
        );
        assert!(is_damage, "{share} %: {refused}");
    }
    fs::write(&table, original).unwrap();
    assert_eq!(start(directory.path()).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_with_a_hole_or_a_wrong_entry_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append((0..20).map(|index| blank(1 + index / 10, index))).await;
    node.opened.log.save_vote(&Vote::new(2, 1)).await.unwrap();
    node.close().await;

    type Damage = fn(&rocksdb::DB);
    let table: [(&str, Option<u64>, Damage); 5] = [
        ("hole", Some(7), |db| {
            db.delete_cf(rocks::family(db, rocks::LOG), 7u64.to_be_bytes()).unwrap();
        }),
        ("no beginning", Some(0), |db| {
            db.delete_cf(rocks::family(db, rocks::LOG), 0u64.to_be_bytes()).unwrap();
        }),
        ("entry in the wrong place", Some(4), |db| {
            let log = rocks::family(db, rocks::LOG);
            let other = db.get_cf(log, 5u64.to_be_bytes()).unwrap().unwrap();
            db.put_cf(log, 4u64.to_be_bytes(), other).unwrap();
        }),
        ("flipped bit that the database does not notice", Some(12), |db| {
            let log = rocks::family(db, rocks::LOG);
            let mut entry = db.get_cf(log, 12u64.to_be_bytes()).unwrap().unwrap();
            *entry.last_mut().unwrap() ^= 1;
            db.put_cf(log, 12u64.to_be_bytes(), entry).unwrap();
        }),
        ("vote", None, |db| {
            db.put_cf(rocks::family(db, rocks::META), "vote", "nonsense").unwrap();
        }),
    ];
    for (case, index, damage) in table {
        let damaged = copy(directory.path());
        let layout = Layout::create(damaged.path()).unwrap();
        damage(&rocks::open_raft(&layout.raft()).unwrap());
        let error = Node::try_open(damaged.path()).err().unwrap();
        let found =
            if let OpenError::CorruptLog { index, .. } = &error { Some(*index) } else { None };
        assert_eq!(found, index, "{case}: {error}");
        assert!(error.to_string().contains("new node id"), "{case}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_state_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let entries = history(100);
    node.append(entries.clone()).await;
    node.apply(entries.clone()).await;
    let hash = node.opened.applied.state_hash();
    let copied = copy(directory.path());
    node.close().await;

    let wal = newest(&copied.path().join("state.1"), ".log");
    let mut bytes = fs::read(&wal).unwrap();
    let position = bytes.len() / 2;
    bytes[position] ^= 1;
    fs::write(&wal, bytes).unwrap();
    let mut node = Node::open(copied.path());
    // From nothing, because there is no snapshot and the log begins at the first entry.
    assert_eq!(node.opened.applied.applied_index(), None);
    node.apply(entries).await;
    assert_eq!(node.opened.applied.state_hash(), hash);
    assert!(!copied.path().join("state.1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_the_log_cannot_complete_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append(history(100)).await;
    node.opened.log.purge(log_id(1, 50)).await.unwrap();
    node.close().await;
    let error = Node::try_open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::StateBehindLog { applied: None, purged: 50 }), "{error}");
}
