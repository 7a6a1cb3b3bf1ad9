//! What the release before wrote is read; what this one writes at the old format level, the
//! release before could read.

use std::{collections::BTreeMap, path::Path};

use openraft::{
    RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftStateMachine},
};
use synckairos_protocol::{
    command::{Command, Expected, RequestKey},
    event::Event,
    ids::SessionId,
    machine::LEVEL_NEWEST,
    session::OnOutage,
    wire::rest::SessionState,
};

use super::{Node, blank, commands, copy, create, log_id, membership, session_id};
use crate::{AppliedEvent, Identity, OpenError, Options, Store};

const CLUSTER: &str = "5f3c1e52-8a0e-4c5b-9b1e-0d9f0a1b2c3d";

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// A directory that a node of the first release left behind when it was killed: a snapshot, a log
/// that goes on after it, and a state database.
#[tokio::test(flavor = "multi_thread")]
async fn directory_of_the_first_release_opens() {
    let directory = copy(&golden("data-format-1"));
    let (sink, _events) = tokio::sync::mpsc::channel(1_000);
    let opened = Store::open(Options {
        data_dir: directory.path().to_owned(),
        identity: Identity { cluster: CLUSTER.to_owned(), node: 1 },
        sink,
        resume_window: 16,
    });
    let mut opened = opened.unwrap_or_else(|error| panic!("{error}"));
    assert!(directory.path().join("ACKNOWLEDGED").exists());
    // What the engine does at a start: what is in the log and not in the state is applied again.
    let applied = opened.applied.applied_index().unwrap();
    let entries = opened.log.get_log_reader().await;
    let mut entries = entries;
    let rest = openraft::storage::RaftLogReader::try_get_log_entries(&mut entries, applied + 1..);
    super::apply(&mut opened.state, rest.await.unwrap()).await;

    let expected = std::fs::read_to_string(golden("data-format-1.json")).unwrap();
    let expected: Vec<SessionState> = serde_json::from_str(&expected).unwrap();
    let found: BTreeMap<SessionId, SessionState> = opened.applied.read(|machine| {
        machine.sessions().map(|session| (session.id, SessionState::from(&**session))).collect()
    });
    assert_eq!(found.len(), expected.len());
    for session in expected {
        assert_eq!(found.get(&session.session_id), Some(&session));
    }
    assert_eq!(opened.applied.level(), 1);

    // A snapshot for nodes of the first release is in their form.
    let mut builder = opened.state.get_snapshot_builder().await;
    let built = builder.build_snapshot().await.unwrap();
    let bytes = std::fs::read(built.snapshot.path()).unwrap();
    assert_eq!(synckairos_protocol::codec::format_of(&bytes), Some(1));
}

fn level_two(node_entries: u64) -> Vec<crate::raft_types::Entry> {
    let raise = Command::SetLevel { level: LEVEL_NEWEST };
    let mut entries = vec![membership(1, 0), commands(1, 1, 1_000, vec![raise])];
    let Command::Create(new) = create(1) else { unreachable!("a create") };
    let frozen = Command::CreateWith { new, on_outage: OnOutage::Freeze };
    let start = Command::Start { session: session_id(1), expected: Expected::Seen(1) };
    entries.push(commands(1, 2, 2_000, vec![frozen, start]));
    for index in 3..node_entries {
        let key = RequestKey { key: index.to_string(), digest: [1; 32] };
        let expected = Expected::Seen(index - 1);
        let command =
            Command::Switch { session: session_id(1), expected, current: None, next: None };
        let once = Command::Once { key, command: Box::new(command) };
        entries.push(commands(1, index, 2_000 + index, vec![once]));
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_level_two_survives_a_restart_and_a_snapshot() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open(first.path());
    let entries = level_two(12);
    node.append(entries.clone()).await;
    node.apply(entries).await;
    let applied = node.opened.applied.clone();
    let hash = applied.state_hash();
    let updates = applied.updates_after(session_id(1), 3, None).unwrap().unwrap();
    let versions: Vec<u64> = updates.iter().map(|update| update.session.version).collect();
    assert_eq!(versions, (4..=11).collect::<Vec<_>>());
    assert!(updates.iter().all(|update| matches!(update.event, Event::Switched { .. })));
    drop(applied);

    let node = node.reopen(first.path()).await;
    assert_eq!(node.opened.applied.state_hash(), hash);
    assert_eq!(
        node.opened.applied.updates_after(session_id(1), 3, None).unwrap(),
        Some(updates.clone())
    );

    let mut node = node;
    let built = node.opened.state.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let mut other = Node::open(second.path());
    let mut incoming = other.opened.inbox.receive().await.unwrap();
    incoming.write(&std::fs::read(built.snapshot.path()).unwrap()).await.unwrap();
    let file = incoming.finish().await.unwrap();
    other.opened.state.install_snapshot(&built.meta, file).await.unwrap();
    assert!(matches!(other.events.try_recv(), Ok(AppliedEvent::Installed { revision: 11 })));
    assert_eq!(other.opened.applied.state_hash(), hash);
    assert_eq!(other.opened.applied.updates_after(session_id(1), 3, None).unwrap(), Some(updates));
    assert!(other.opened.applied.read(|machine| machine.frozen_running()));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_those_of_this_session_within_its_window() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    // A window of 16, and 30 versions.
    node.apply(level_two(31)).await;
    let updates =
        |version, revision| node.opened.applied.updates_after(session_id(1), version, revision);
    let count = |found: Option<Vec<crate::StoredUpdate>>| found.map(|updates| updates.len());
    assert_eq!(count(updates(30, None).unwrap()), Some(0), "up to date");
    assert_eq!(count(updates(20, None).unwrap()), Some(10));
    assert_eq!(count(updates(14, None).unwrap()), Some(16), "the whole window");
    assert_eq!(count(updates(13, None).unwrap()), None, "beyond the window");
    assert_eq!(count(updates(31, None).unwrap()), None, "from the future");
    // Version v was made by entry v, from 3 on.
    assert_eq!(count(updates(20, Some(20)).unwrap()), Some(10));
    assert_eq!(count(updates(20, Some(21)).unwrap()), None, "another session of this id");
    assert_eq!(count(updates(0, None).unwrap()), None);

    let delete = Command::Delete { session: session_id(1) };
    node.apply([commands(1, 31, 90_000, vec![delete, create(1)])]).await;
    let updates =
        |version, revision| node.opened.applied.updates_after(session_id(1), version, revision);
    assert_eq!(count(updates(0, None).unwrap()), Some(1));
    assert_eq!(count(updates(1, Some(2)).unwrap()), None, "the one before");
    assert_eq!(count(updates(1, Some(31)).unwrap()), Some(0));
    assert_eq!(count(updates(20, None).unwrap()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_beyond_this_version_ends_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let raise = Command::SetLevel { level: LEVEL_NEWEST + 1 };
    let entry = commands(1, 1, 1_000, vec![raise]);
    let entries = vec![Ok((membership(1, 0), None)), Ok((entry, None))];
    let applied = node.opened.state.apply(futures_util::stream::iter(entries)).await;
    assert!(applied.is_err());
    let reason = node.opened.fatal.borrow().clone().unwrap();
    assert!(reason.contains("install the version"), "{reason}");
}

/// An entry of a later release is refused by name, not taken for damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_later_release_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.append([membership(1, 0), blank(1, 1)]).await;
    node.opened.log.save_vote(&crate::raft_types::Vote::new(1, 1)).await.unwrap();
    node.close().await;
    let layout = crate::layout::Layout::create(directory.path()).unwrap();
    {
        use crate::{rocks, wire::EntryV1};
        let db = rocks::open_raft(&layout.raft()).unwrap();
        let form = EntryV1::from(&blank(1, 1)).into_entry().unwrap();
        assert_eq!(form.log_id, log_id(1, 1));
        let kind = synckairos_protocol::codec::Kind::LogEntry;
        let later = synckairos_protocol::codec::encode(kind, 99, &EntryV1::from(&form)).unwrap();
        db.put_cf(rocks::family(&db, rocks::LOG), 1u64.to_be_bytes(), later).unwrap();
    }
    let error = Node::try_open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { found: 99, .. }), "{error}");
}
