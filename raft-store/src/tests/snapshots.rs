//! Snapshots: built while the state moves on, carried over, installed whole or not at all.

use std::{fs, path::Path};

use openraft::{
    RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftStateMachine},
};
use tokio::io::AsyncReadExt;

use super::{Node, copy, history, log_id};
use crate::{
    AppliedEvent,
    raft_types::{Snapshot, SnapshotFile},
};

async fn build(node: &mut Node) -> Snapshot {
    node.opened.state.get_snapshot_builder().await.build_snapshot().await.unwrap()
}

async fn bytes_of(file: &SnapshotFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.reader().await.unwrap().read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len() as u64, file.size());
    bytes
}

/// As the network does it.
async fn receive(node: &Node, bytes: &[u8]) -> std::io::Result<SnapshotFile> {
    let mut incoming = node.opened.inbox.receive().await?;
    for chunk in bytes.chunks(1_000) {
        incoming.write(chunk).await?;
    }
    incoming.finish().await
}

fn files(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory.join("snapshots")).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_converge_through_a_snapshot() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut from, mut to) = (Node::open(first.path()), Node::open(second.path()));
    let entries = history(600);
    from.apply(entries[..400].to_vec()).await;
    to.apply(entries[..20].to_vec()).await;

    // The view is taken when the builder is made, not when it builds.
    let mut builder = from.opened.state.get_snapshot_builder().await;
    let hash_at_400 = from.opened.applied.state_hash();
    from.apply(entries[400..500].to_vec()).await;
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(1, 399)));
    assert_eq!(built.meta.last_membership.log_id(), &Some(log_id(1, 0)));

    let received = receive(&to, &bytes_of(&built.snapshot).await).await.unwrap();
    to.opened.state.install_snapshot(&built.meta, received).await.unwrap();
    assert_eq!(to.opened.applied.state_hash(), hash_at_400);
    assert_eq!(to.opened.applied.applied_index(), Some(399));
    assert_eq!(to.opened.log.last_stamp(), to.opened.applied.now());
    let mut last = None;
    while let Ok(event) = to.events.try_recv() {
        last = Some(event);
    }
    assert_eq!(last, Some(AppliedEvent::Installed { revision: 399 }));

    to.apply(entries[400..].to_vec()).await;
    from.apply(entries[500..].to_vec()).await;
    assert_eq!(to.opened.applied.state_hash(), from.opened.applied.state_hash());
    assert!(to.opened.applied.session_count() > 100);

    let mut to = to.reopen(second.path()).await;
    assert_eq!(to.opened.applied.state_hash(), from.opened.applied.state_hash());
    assert_eq!(to.opened.applied.applied_index(), Some(599));
    let current = to.opened.state.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, built.meta);
    assert!(!second.path().join("state.1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_refused_and_leaves_the_state_alone() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut from, mut to) = (Node::open(first.path()), Node::open(second.path()));
    from.apply(history(40)).await;
    to.apply(history(10)).await;
    let hash = to.opened.applied.state_hash();
    let built = build(&mut from).await;
    let whole = bytes_of(&built.snapshot).await;

    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), [whole.as_slice(), &[0]].concat()];
    for position in (0..whole.len()).step_by(97) {
        damaged.push(whole[..position].to_vec());
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        damaged.push(flipped);
    }
    for bytes in &damaged {
        let error = receive(&to, bytes).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }
    assert_eq!(files(second.path()), [""; 0]);

    // The installation checks for itself.
    let path = second.path().join("snapshots/damaged");
    for bytes in damaged.iter().step_by(20) {
        fs::write(&path, bytes).unwrap();
        let file = SnapshotFile::open(&path).unwrap();
        to.opened.state.install_snapshot(&built.meta, file).await.unwrap_err();
        assert_eq!(to.opened.applied.state_hash(), hash);
        assert_eq!(to.opened.applied.applied_index(), Some(9));
    }
    fs::write(&path, &whole).unwrap();
    let other =
        crate::raft_types::SnapshotMeta { last_log_id: Some(log_id(1, 38)), ..built.meta.clone() };
    let file = SnapshotFile::open(&path).unwrap();
    to.opened.state.install_snapshot(&other, file).await.unwrap_err();
    let mut to = to.reopen(second.path()).await;
    assert_eq!(to.opened.applied.state_hash(), hash);
    assert!(to.opened.state.get_current_snapshot().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn state_behind_a_purged_log_comes_back_from_the_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let entries = history(300);
    node.append(entries.clone()).await;
    node.apply(entries[..100].to_vec()).await;
    let before = copy(directory.path());
    node.apply(entries[100..200].to_vec()).await;
    let hash = node.opened.applied.state_hash();
    build(&mut node).await;
    node.opened.log.purge(log_id(1, 180)).await.unwrap();
    node.close().await;

    // The state database as a power loss may leave it: older than all the rest.
    fs::remove_dir_all(directory.path().join("state.1")).unwrap();
    fs::rename(before.path().join("state.1"), directory.path().join("state.1")).unwrap();
    let mut node = Node::open(directory.path());
    assert_eq!(node.opened.applied.applied_index(), Some(199));
    assert_eq!(node.opened.applied.state_hash(), hash);
    node.apply(entries[200..].to_vec()).await;
    let node = node.reopen(directory.path()).await;
    assert_eq!(node.opened.applied.applied_index(), Some(299));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_damaged_snapshots_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let entries = history(60);
    let mut metas = Vec::new();
    for run in entries.chunks(10) {
        node.apply(run.to_vec()).await;
        metas.push(build(&mut node).await.meta);
    }
    let kept = files(directory.path());
    assert_eq!(kept.len(), 2);
    fs::write(directory.path().join("snapshots/built-0.partial"), "half").unwrap();
    let newest = directory.path().join("snapshots").join(&kept[1]);
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();

    let mut node = node.reopen(directory.path()).await;
    let current = node.opened.state.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, metas[4]);
    assert_eq!(files(directory.path()), kept[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_built_after_a_newer_one_was_installed_does_not_replace_it() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut from, mut to) = (Node::open(first.path()), Node::open(second.path()));
    from.apply(history(50)).await;
    to.apply(history(20)).await;
    let mut older = to.opened.state.get_snapshot_builder().await;
    let newer = build(&mut from).await;
    let received = receive(&to, &bytes_of(&newer.snapshot).await).await.unwrap();
    to.opened.state.install_snapshot(&newer.meta, received).await.unwrap();
    let older = older.build_snapshot().await.unwrap();
    assert_eq!(older.meta.last_log_id, Some(log_id(1, 19)));
    let current = to.opened.state.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, newer.meta);
    assert_eq!(to.opened.applied.state_hash(), from.opened.applied.state_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_state_spans_many_chunks() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut from, mut to) = (Node::open(first.path()), Node::open(second.path()));
    from.apply((0..20).map(|index| {
        let creates = (0..400).map(|number| super::create(index * 400 + number)).collect();
        super::commands(1, index, 10, creates)
    }))
    .await;
    let built = build(&mut from).await;
    assert!(1_000_000 < built.snapshot.size(), "{} bytes", built.snapshot.size());
    let received = receive(&to, &bytes_of(&built.snapshot).await).await.unwrap();
    to.opened.state.install_snapshot(&built.meta, received).await.unwrap();
    assert_eq!(to.opened.applied.session_count(), 8_000);
    assert_eq!(to.opened.applied.state_hash(), from.opened.applied.state_hash());
}
