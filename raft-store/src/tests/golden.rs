//! The bytes of every stored form, as released. A test that fails here means that data on disk or
//! peers of the released version would be misread: the change needs a new format, not a new line.

use std::{env, fs, path::Path};

use openraft::{EntryPayload, RaftSnapshotBuilder, StoredMembership, storage::RaftStateMachine};
use synckairos_protocol::{
    codec::{self, Kind},
    command::{Command, Stamped},
    machine::Machine,
    time::Stamp,
};

use super::{Node, blank, commands, create, log_id, membership};
use crate::{
    Identity,
    backup::{MANIFEST_FORMAT, ManifestV1, Origin},
    log::Mark,
    raft_types::{Entry, SnapshotMeta, Vote},
    state::rows,
    wire::{
        ENTRY_FORMAT, EntryV1, LOG_ID_FORMAT, LogIdV1, SNAPSHOT_META_FORMAT, SnapshotMetaV1,
        VOTE_FORMAT, VoteV1,
    },
};

/// Compares with the released bytes. `UPDATE_GOLDEN=1` writes a file that is not there yet.
fn check_golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let mut text = String::new();
    for line in bytes.chunks(32) {
        text.extend(line.iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    if env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{name} changed: released data would be misread");
}

fn meta() -> SnapshotMeta {
    let EntryPayload::Membership(members) = membership(3, 4).payload else {
        unreachable!("a membership")
    };
    SnapshotMeta {
        last_log_id: Some(log_id(3, 300)),
        last_membership: StoredMembership::new(Some(log_id(3, 4)), members),
    }
}

#[test]
fn released_forms_keep_their_bytes() {
    let vote = VoteV1::from(&Vote::new_committed(7, 2));
    let position = LogIdV1::from(&log_id(7, 300));
    let meta = SnapshotMetaV1::from(&meta());
    let create = commands(7, 300, 1_769_846_400_000, vec![create(5)]);
    let table = [
        ("vote.hex", codec::encode(Kind::Vote, VOTE_FORMAT, &vote)),
        ("position.hex", codec::encode(Kind::LogPosition, LOG_ID_FORMAT, &position)),
        ("entry_blank.hex", EntryV1::encode(&blank(7, 300))),
        ("entry_commands.hex", EntryV1::encode(&create)),
        ("entry_membership.hex", EntryV1::encode(&membership(7, 300))),
        ("snapshot_meta.hex", codec::encode(Kind::SnapshotHeader, SNAPSHOT_META_FORMAT, &meta)),
    ];
    for (name, bytes) in table {
        check_golden(name, &bytes.unwrap());
    }
    let identity = Identity { cluster: String::from("a cluster"), node: 300 };
    check_golden("identity.hex", &identity.encode());
    let mark = Mark {
        sequence: 70_000,
        last: Some(log_id(7, 300)),
        vote: Some(Vote::new_committed(7, 2)),
    };
    check_golden("acknowledged.hex", &mark.encode());
}

/// All of a snapshot: header, a chunk with a session, trailer.
#[tokio::test(flavor = "multi_thread")]
async fn released_snapshot_keeps_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.apply([membership(1, 0), commands(1, 1, 1_769_846_400_000, vec![create(5)])]).await;
    let mut builder = node.opened.state.get_snapshot_builder().await;
    let built = builder.build_snapshot().await.unwrap();
    check_golden("snapshot.hex", &fs::read(built.snapshot.path()).unwrap());
}

#[test]
fn released_manifest_keeps_its_bytes() {
    let manifest = ManifestV1 {
        origin: Origin {
            cluster: String::from("a cluster"),
            node: 300,
            version: String::from("3.0.0"),
            created_unix_ms: 1_769_846_400_000,
        },
        revision: 70_000,
        cluster_time: Stamp::from_unix_millis(1_769_846_400_123),
        level: 2,
        sessions: 9,
        answers: 4,
    };
    let bytes = codec::encode(Kind::BackupManifest, MANIFEST_FORMAT, &manifest);
    check_golden("backup_manifest.hex", &bytes.unwrap());
}

#[test]
fn released_roster_keeps_its_bytes() {
    let mut machine = Machine::default();
    machine.note_members([1, 2, 3, 300].into(), &[1, 2, 3].into());
    machine.note_members([1, 2, 3].into(), &[1, 2, 3].into());
    let stamp = Stamp::from_unix_millis(1_769_846_400_000);
    let token = |number, replaces| Command::CreateToken {
        id: [number; 16],
        digest: [number; 32],
        expires_at: Stamp::from_unix_millis(1_769_850_000_000),
        replaces,
    };
    let admit = |number, place: &str| Command::AdmitNode {
        token: [number; 16],
        digest: [number; 32],
        key: [number + 100; 32],
        peer: format!("{place}:7400"),
        http: format!("{place}:3000"),
    };
    let level = Command::SetLevel { level: 2 };
    let made = [token(1, None), token(2, Some(3)), token(3, None), token(4, Some(2))];
    let shown = [admit(1, "10.0.0.4"), admit(2, "node-5.example")];
    for command in [level].into_iter().chain(made).chain(shown) {
        machine.apply_one(&Stamped { stamp, command }, &mut Vec::new()).unwrap();
    }
    machine.note_members([1, 2, 3, 301].into(), &[1, 2, 3, 301].into());
    let bytes = rows::encode_roster(machine.roster()).unwrap();
    check_golden("roster.hex", &bytes);
    assert_eq!(rows::decode_roster(&bytes).unwrap(), *machine.roster());
}

#[test]
fn every_form_comes_back_as_it_was() {
    for entry in [blank(1, 0), membership(2, 9), commands(3, 70_000, 5, vec![create(1); 3])] {
        let bytes = EntryV1::encode(&entry).unwrap();
        let read: EntryV1<'_> = codec::decode(Kind::LogEntry, ENTRY_FORMAT, &bytes).unwrap();
        let read: Entry = read.into_entry().unwrap();
        assert_eq!(read, entry);
    }
    for vote in [Vote::new(1, 2), Vote::new_committed(u64::MAX, 0)] {
        assert_eq!(Vote::from(VoteV1::from(&vote)), vote);
    }
    let read: SnapshotMeta = SnapshotMetaV1::from(&meta()).try_into().unwrap();
    assert_eq!(read, meta());
}

#[test]
fn impossible_membership_is_refused() {
    let mut wire = SnapshotMetaV1::from(&meta());
    wire.membership.membership.configs.push([9].into());
    assert!(SnapshotMeta::try_from(wire).is_err());
}
