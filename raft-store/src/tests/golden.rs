//! The bytes of every stored form, as released. A test that fails here means that data on disk or
//! peers of the released version would be misread: the change needs a new format, not a new line.

use openraft::{EntryPayload, StoredMembership};
use synckairos_protocol::codec::{self, Kind};

use super::{blank, commands, create, log_id, membership};
use crate::{
    raft_types::{Entry, SnapshotMeta, Vote},
    wire::{
        ENTRY_FORMAT, EntryV1, LOG_ID_FORMAT, LogIdV1, SNAPSHOT_META_FORMAT, SnapshotMetaV1,
        VOTE_FORMAT, VoteV1,
    },
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    let table = [
        ("vote", codec::encode(Kind::Vote, VOTE_FORMAT, &vote), include_str!("golden/vote.hex")),
        (
            "position",
            codec::encode(Kind::LogPosition, LOG_ID_FORMAT, &position),
            include_str!("golden/position.hex"),
        ),
        ("blank entry", EntryV1::encode(&blank(7, 300)), include_str!("golden/blank.hex")),
        (
            "commands",
            EntryV1::encode(&commands(7, 300, 1_769_846_400_000, vec![create(5)])),
            include_str!("golden/commands.hex"),
        ),
        ("membership", EntryV1::encode(&membership(7, 300)), include_str!("golden/membership.hex")),
        (
            "snapshot meta",
            codec::encode(Kind::SnapshotHeader, SNAPSHOT_META_FORMAT, &meta),
            include_str!("golden/snapshot_meta.hex"),
        ),
    ];
    for (name, bytes, golden) in table {
        assert_eq!(hex(&bytes.unwrap()), golden.trim_end(), "{name}");
    }
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
