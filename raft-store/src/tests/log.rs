//! The log in good order: what was acknowledged is there after a restart, and nothing else.

use openraft::{
    storage::{RaftLogReader, RaftLogStorage},
    type_config::TypeConfigExt,
};
use synckairos_protocol::{command::Command, time::Stamp};

use super::{Node, blank, commands, create, log_id};
use crate::{
    layout::Layout,
    raft_types::{TypeConfig, Vote},
    rocks,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let vote = Vote::new_committed(3, 2);
    node.opened.log.save_vote(&vote).await.unwrap();
    let entries: Vec<_> =
        (0..50).map(|index| commands(1, index, 5_000 + index, vec![create(index)])).collect();
    node.append(entries.clone()).await;
    node.opened.log.save_committed(Some(log_id(1, 40))).await.unwrap();
    node.append([blank(3, 50)]).await;

    let mut node = node.reopen(directory.path()).await;
    let mut reader = node.opened.log.get_log_reader().await;
    assert_eq!(reader.read_vote().await.unwrap(), Some(vote));
    assert_eq!(reader.try_get_log_entries(0..50).await.unwrap(), entries);
    assert_eq!(node.opened.log.read_committed().await.unwrap(), Some(log_id(1, 40)));
    assert_eq!(node.opened.log.last_stamp(), Stamp::from_unix_millis(5_049));
    assert_eq!(node.opened.log.get_log_state().await.unwrap().last_log_id, Some(log_id(3, 50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn truncation_and_purge_stay_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append((0..30).map(|index| blank(1, index))).await;
    node.opened.log.truncate_after(Some(log_id(1, 19))).await.unwrap();
    node.append((20..25).map(|index| blank(2, index))).await;
    node.opened.log.purge(log_id(1, 9)).await.unwrap();
    let expected: Vec<_> = (10..20)
        .map(|index| log_id(1, index))
        .chain((20..25).map(|index| log_id(2, index)))
        .collect();
    assert_eq!(node.log_ids().await, expected);

    // The state would have been applied, or the log not purged.
    node.apply((0..10).map(|index| blank(1, index))).await;
    let mut node = node.reopen(directory.path()).await;
    assert_eq!(node.log_ids().await, expected);
    let bounds = node.opened.log.get_log_state().await.unwrap();
    assert_eq!(bounds.last_purged_log_id, Some(log_id(1, 9)));

    node.opened.log.truncate_after(Some(log_id(1, 9))).await.unwrap();
    assert_eq!(node.log_ids().await, []);
    node.append([blank(4, 10)]).await;
    let mut node = node.reopen(directory.path()).await;
    assert_eq!(node.log_ids().await, [log_id(4, 10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_keys_leave_the_database_in_large_steps() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append((0..12_000).map(|index| blank(1, index))).await;
    node.apply((0..12_000).map(|index| blank(1, index))).await;
    node.opened.log.purge(log_id(1, 500)).await.unwrap();
    node.opened.log.purge(log_id(1, 9_998)).await.unwrap();
    let keys = async |node: Node| {
        node.close().await;
        let db = rocks::open_raft(&Layout::create(directory.path()).unwrap().raft()).unwrap();
        db.iterator_cf(rocks::family(&db, rocks::LOG), rocksdb::IteratorMode::Start).count()
    };
    assert_eq!(keys(node).await, 12_000);

    let mut node = Node::open(directory.path());
    assert_eq!(node.log_ids().await.first(), Some(&log_id(1, 9_999)));
    node.opened.log.purge(log_id(1, 9_999)).await.unwrap();
    assert_eq!(keys(node).await, 2_000);
    assert_eq!(Node::open(directory.path()).log_ids().await.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_are_read_from_the_database_and_new_ones_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    // Twice what memory keeps.
    let large = |index| {
        let Command::Create(mut new) = create(index) else { unreachable!("a create") };
        new.metadata = Some("x".repeat(15_000));
        commands(1, index, index, vec![Command::Create(new); 60])
    };
    for first in (0..80).step_by(8) {
        node.append((first..first + 8).map(large)).await;
    }
    let mut reader = node.opened.log.get_log_reader().await;
    assert_eq!(
        reader.try_get_log_entries(0..80).await.unwrap(),
        (0..80).map(large).collect::<Vec<_>>()
    );
    for start in [0, 30, 45, 60, 79] {
        let part = reader.limited_get_log_entries(start, 80).await.unwrap();
        assert!(!part.is_empty() && part.len() <= 10, "{} entries from {start}", part.len());
        let expected: Vec<_> = (start..80).map(large).take(part.len()).collect();
        assert_eq!(part, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_refused_at_the_append() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append([blank(1, 0)]).await;
    let hole = node.opened.log.append([blank(1, 2)], openraft::storage::IOFlushed::noop()).await;
    assert!(hole.unwrap_err().to_string().contains("hole"));
    assert!(node.opened.fatal.borrow().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_appends_share_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let mut flushed = Vec::new();
    for index in 0..1_000 {
        let (sender, receiver) = TypeConfig::oneshot();
        let callback = openraft::storage::IOFlushed::signal(sender);
        node.opened.log.append([commands(1, index, 1, vec![create(1)])], callback).await.unwrap();
        flushed.push(receiver);
    }
    for written in flushed {
        written.await.unwrap().unwrap();
    }
    let stats = node.opened.log.stats().snapshot();
    assert_eq!((stats.entries_total, stats.commands_total), (1_000, 1_000));
    assert!(stats.syncs < 500, "{} syncs", stats.syncs);
    assert_eq!(stats.sync_micros.iter().sum::<u64>(), stats.syncs);
    assert_eq!(stats.commands.iter().sum::<u64>(), stats.syncs);
}
