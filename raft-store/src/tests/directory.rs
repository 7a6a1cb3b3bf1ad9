//! Whose directory it is, and who may open it.

use std::fs;

use openraft::storage::RaftLogStorage;
use synckairos_protocol::codec::{self, Kind};
use tokio::sync::mpsc;

use super::{Node, blank, log_id};
use crate::{Identity, OpenError, Options, Store};

#[tokio::test(flavor = "multi_thread")]
async fn data_of_somebody_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    Node::open(directory.path()).close().await;
    let open = |cluster: &str, node| {
        let identity = Identity { cluster: String::from(cluster), node };
        let data_dir = directory.path().to_owned();
        let opened = Store::open(Options {
            data_dir,
            identity,
            sink: mpsc::channel(1).0,
            resume_window: 16,
        });
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(open("other", 1).contains("belongs to cluster \"test\""), "{}", open("other", 1));
    assert!(open("test", 2).contains("belongs to node 1"), "{}", open("test", 2));

    // The database says the same where the file is gone.
    fs::remove_file(directory.path().join("IDENTITY")).unwrap();
    assert!(open("test", 2).contains("belongs to node 1"));

    let newer = codec::encode(Kind::NodeIdentity, 2, &("test", 1u64)).unwrap();
    fs::write(directory.path().join("IDENTITY"), newer).unwrap();
    assert!(open("test", 1).contains("run the newer version"), "{}", open("test", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_user_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path());
    let error = Node::try_open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    node.reopen(directory.path()).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_log_does_not_vote_again() {
    let directory = tempfile::tempdir().unwrap();
    Node::open(directory.path()).close().await;
    fs::remove_dir_all(directory.path().join("raft")).unwrap();
    let error = Node::try_open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
    assert!(error.to_string().contains("new node id"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_first_start_is_finished_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    Node::open(directory.path()).close().await;
    fs::remove_file(directory.path().join("IDENTITY")).unwrap();
    fs::remove_file(directory.path().join("CURRENT-STATE")).unwrap();
    let mut node = Node::open(directory.path());
    assert!(directory.path().join("IDENTITY").exists());
    node.append([blank(1, 0)]).await;
    assert_eq!(node.opened.log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 0)));
}
