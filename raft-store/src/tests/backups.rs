//! Backups: a whole state in one file, refused where one bit of it is wrong, and the beginning of a
//! new cluster.

use std::{collections::BTreeMap, fs, path::Path};

use openraft::storage::{RaftLogReader, RaftLogStorage};
use synckairos_protocol::session::Session;
use tokio::sync::mpsc;

use super::{Node, commands, create, history, log_id};
use crate::{
    Identity, Opened, Options, Store,
    backup::{self, BackupError, ManifestV1, Origin, Place, Row},
    raft_types::{PeerNode, Vote},
};

fn origin() -> Origin {
    Origin {
        cluster: String::from("test"),
        node: 1,
        version: String::from("3.0.0"),
        created_unix_ms: 1_769_846_400_000,
    }
}

fn back_up(node: &Node, path: &Path) -> ManifestV1 {
    let file = fs::File::create(path).unwrap();
    backup::create(&node.opened.applied, origin(), file).unwrap().0
}

fn sessions_of(path: &Path) -> Vec<Session> {
    let mut sessions = Vec::new();
    backup::read(path, |row| {
        if let Row::Session(session) = row {
            sessions.push(session.clone());
        }
        Ok::<_, BackupError>(())
    })
    .unwrap();
    sessions
}

fn new_place(data_dir: &Path) -> Place {
    let at = PeerNode { peer: String::from("b:1"), http: String::from("b:2") };
    Place {
        data_dir: data_dir.to_owned(),
        identity: Identity { cluster: String::from("another"), node: 1 },
        members: BTreeMap::from([(1, at)]),
    }
}

fn restore(file: &Path, place: &Place) -> Result<ManifestV1, BackupError> {
    backup::restore(file, place, |_| Ok(()))
}

fn open(place: &Place) -> Opened {
    let (sink, _) = mpsc::channel(100);
    let (data_dir, identity) = (place.data_dir.clone(), place.identity.clone());
    Store::open(Options { data_dir, identity, sink, resume_window: 16 }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_begins_with_the_state_of_a_backup() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    let mut node = Node::open(&directory.path().join("old"));
    let entries = history(400);
    node.apply(entries[..300].to_vec()).await;
    let manifest = back_up(&node, &file);
    let sessions: Vec<Session> =
        node.opened.applied.read(|machine| machine.sessions().map(|one| (**one).clone()).collect());
    node.apply(entries[300..].to_vec()).await;
    node.close().await;
    assert_eq!((manifest.revision, manifest.sessions), (299, sessions.len() as u64));
    assert_eq!(backup::verify(&file).unwrap(), manifest);
    assert_eq!(sessions_of(&file), sessions);

    let place = new_place(&directory.path().join("new"));
    assert_eq!(restore(&file, &place).unwrap(), manifest);
    let mut opened = open(&place);
    let restored: Vec<Session> =
        opened.applied.read(|machine| machine.sessions().map(|one| (**one).clone()).collect());
    assert_eq!(restored, sessions);
    assert_eq!(opened.applied.now(), manifest.cluster_time);
    let state = opened.log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 299)));
    assert_eq!(state.last_log_id, Some(log_id(1, 299)));
    let vote = opened.log.get_log_reader().await.read_vote().await.unwrap();
    assert_eq!(vote, Some(Vote::new(1, 1)));
    let members: Vec<u64> =
        opened.applied.read(|machine| machine.roster().members().iter().copied().collect());
    assert_eq!(members, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_one_wrong_bit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    let mut node = Node::open(&directory.path().join("old"));
    node.apply(history(20)).await;
    back_up(&node, &file);
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        let error = backup::verify(&file).err().unwrap_or_else(|| panic!("{what}"));
        assert!(error.to_string().contains("backup"), "{what}: {error}");
        let place = new_place(&directory.path().join("new"));
        assert!(restore(&file, &place).is_err(), "{what}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "{what} leaves nothing");
    };
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 4;
        refused(&bytes, &format!("byte {position}"));
    }
    for length in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], &format!("{length} bytes"));
    }
    refused(&[whole.as_slice(), b"x"].concat(), "a byte more");
    // The manifest of one and the state of another.
    node.apply([commands(1, 20, 9_000_000, vec![create(77_777)])]).await;
    let other = directory.path().join("b.backup");
    back_up(&node, &other);
    let head = |bytes: &[u8]| 14 + u32::from_le_bytes(bytes[6..10].try_into().unwrap()) as usize;
    let later = fs::read(&other).unwrap();
    fs::remove_file(&other).unwrap();
    refused(&[&whole[..head(&whole)], &later[head(&later)..]].concat(), "another state");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restoring_touches_nothing_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    let mut node = Node::open(&directory.path().join("old"));
    let nothing = backup::create(&node.opened.applied, origin(), Vec::new());
    assert!(matches!(nothing, Err(BackupError::Nothing)));
    node.apply(history(10)).await;
    back_up(&node, &file);
    node.close().await;

    let used = new_place(&directory.path().join("old"));
    assert!(matches!(restore(&file, &used), Err(BackupError::NotEmpty { .. })));
    let mut same = new_place(&directory.path().join("new"));
    same.identity.cluster = String::from("test");
    assert!(matches!(restore(&file, &same), Err(BackupError::SameCluster(_))));
    let mut second = new_place(&directory.path().join("new"));
    second.identity.node = 2;
    let refused = restore(&file, &second);
    assert!(matches!(refused, Err(BackupError::NotTheFounder { node: 2, founder: 1 })));
    assert!(!directory.path().join("new").exists());

    // What else the node needs cannot be put there.
    let place = new_place(&directory.path().join("new"));
    let refused = backup::restore(&file, &place, |home| {
        assert!(home.join("IDENTITY").exists());
        fs::write(home.join("node.toml"), "half").unwrap();
        Err(BackupError::SameCluster(String::from("any error")))
    });
    assert!(matches!(refused, Err(BackupError::SameCluster(_))));
    assert!(!place.data_dir.exists());

    // A new file system is as good as no directory, and so is what an attempt left that was killed.
    fs::create_dir_all(place.data_dir.join("lost+found")).unwrap();
    fs::create_dir_all(place.data_dir.join("restoring/raft")).unwrap();
    restore(&file, &place).unwrap();
    assert_eq!(Identity::of(&place.data_dir).unwrap(), Some(place.identity.clone()));
    assert!(place.data_dir.join("lost+found").exists());
    assert!(!place.data_dir.join("restoring").exists());
    assert_eq!(open(&place).applied.applied_index(), Some(9));
}
