//! Creation: what is accepted, what an identical create is told, and what a delete makes room for.

use super::{check, script::Stage};
use crate::{
    ids::{GroupId, ParticipantId, SessionId},
    limits,
    session::{Group, NewParticipant, NewSession, OnTimeout, SyncMode},
    time::Millis,
};

#[test]
fn a_create_makes_a_pending_session_at_version_1() {
    check(
        "create t global a=1000 @0",
        &[(
            "per_participant",
            "create s per_participant a=5000 b=7000 @5",
            "s:1 created",
            "s:1 pending | a 5000 +0 x0 | b 7000 +0 x0",
        )],
    );
}

#[test]
fn an_identical_create_of_a_pending_session_changes_nothing() {
    let given = "create s per_group a=5000/X b=7000/Y X=9000 warnings=10 first=b metadata={} @0";
    let pending = "s:1 pending | a 9000 +0 x0 | b 7000 +0 x0";
    let exists = "SESSION_EXISTS: Session s already exists";
    check(
        given,
        &[
            (
                "identical, and later",
                "create s per_group a=5000/X b=7000/Y X=9000 warnings=10 first=b metadata={} @9",
                "",
                pending,
            ),
            (
                "another bank",
                "create s per_group a=5001/X b=7000/Y X=9000 warnings=10 first=b metadata={} @9",
                exists,
                pending,
            ),
            (
                "another order",
                "create s per_group b=7000/Y a=5000/X X=9000 warnings=10 first=b metadata={} @9",
                exists,
                pending,
            ),
            (
                "another first",
                "create s per_group a=5000/X b=7000/Y X=9000 warnings=10 metadata={} @9",
                exists,
                pending,
            ),
            (
                "other metadata",
                "create s per_group a=5000/X b=7000/Y X=9000 warnings=10 first=b metadata=[] @9",
                exists,
                pending,
            ),
            (
                "identical, but it runs",
                "start s @1, create s per_group a=5000/X b=7000/Y X=9000 warnings=10 first=b \
                 metadata={} @9",
                exists,
                "s:2 running b@1 due 6991 | a 9000 +0 x0 | b 7000 +0 x0",
            ),
            (
                "identical, but it was completed",
                "complete s @1, create s per_group a=5000/X b=7000/Y X=9000 warnings=10 first=b \
                 metadata={} @9",
                exists,
                "s:2 completed @1 | a 9000 +0 x0 | b 7000 +0 x0",
            ),
        ],
    );
}

#[test]
fn after_a_delete_everything_starts_anew() {
    check(
        "create s per_participant a=5000 b=5000 @0",
        &[
            ("delete", "start s @1000, delete s @2000", "s deleted @2000", "gone"),
            ("delete again", "delete s @2000, delete s @3000", "", "gone"),
            (
                "create after delete",
                "start s @1000, delete s @2000, create s global a=1000 @3000",
                "s:1 created",
                "s:1 pending | a 1000 +0 x0",
            ),
            (
                "the old deadline is forgotten",
                "start s @1000, delete s @2000, create s global a=1000 @3000, tick @9999",
                "0 done",
                "s:1 pending | a 1000 +0 x0",
            ),
        ],
    );
}

#[test]
fn the_machine_trusts_no_edge() {
    let base = || NewSession {
        id: SessionId::from_bits(1),
        mode: SyncMode::PerGroup,
        participants: participants(2),
        groups: vec![group(7, 1_000)],
        total_time: limits::CLOCK_MIN,
        time_per_cycle: Some(limits::CLOCK_MAX),
        increment: limits::INCREMENT_MAX,
        max_time: Some(limits::CLOCK_MAX),
        on_timeout: Some(OnTimeout::AutoAction { action: "x".repeat(limits::ACTION_BYTES_MAX) }),
        auto_advance: Some(true),
        warnings: vec![Millis::new(1); limits::WARNINGS_MAX],
        metadata: Some("m".repeat(limits::METADATA_BYTES_MAX)),
        first: Some(ParticipantId::from_bits(1)),
    };
    assert_eq!(base().broken_rule(), None);
    let full = NewSession { participants: participants(1_000), ..base() };
    assert_eq!(full.broken_rule(), None);

    let clocks = "clocks are within 1000 ms and a day";
    let over = Millis::new(limits::CLOCK_MAX.get() + 1);
    let under = Millis::new(999);
    let action = OnTimeout::AutoAction { action: "x".repeat(257) };
    let mut short_bank = base();
    short_bank.participants[1].bank = under;
    let table = [
        (NewSession { participants: vec![], ..base() }, "there is a participant"),
        (
            NewSession { participants: participants(1_001), ..base() },
            "participants are at most 1000",
        ),
        (
            NewSession { participants: [participants(2), participants(1)].concat(), ..base() },
            "participants are distinct",
        ),
        (NewSession { groups: vec![group(7, 1_000); 2], ..base() }, "groups are distinct"),
        (
            NewSession { groups: (0..1_001).map(|bits| group(bits, 1_000)).collect(), ..base() },
            "groups are at most 1000",
        ),
        (NewSession { total_time: under, ..base() }, clocks),
        (NewSession { total_time: over, ..base() }, clocks),
        (NewSession { time_per_cycle: Some(over), ..base() }, clocks),
        (NewSession { max_time: Some(under), ..base() }, clocks),
        (NewSession { groups: vec![group(7, 999)], ..base() }, clocks),
        (short_bank, clocks),
        (
            NewSession { increment: Millis::new(60_001), ..base() },
            "the increment is at most a minute",
        ),
        (NewSession { warnings: vec![Millis::new(1); 9], ..base() }, "warnings are at most 8"),
        (NewSession { warnings: vec![Millis::ZERO], ..base() }, "warnings are positive"),
        (NewSession { on_timeout: Some(action), ..base() }, "the action is at most 256 bytes"),
        (
            NewSession { metadata: Some("m".repeat(16_385)), ..base() },
            "the metadata is at most 16 KiB",
        ),
        (
            NewSession { first: Some(ParticipantId::from_bits(9)), ..base() },
            "who starts takes part",
        ),
    ];
    for (new, rule) in table {
        assert_eq!(new.broken_rule(), Some(rule));
    }
}

#[test]
fn a_broken_description_is_refused_by_its_rule() {
    let told = Stage::default().run("create s global a=999 @0");
    let rule = "it must hold that clocks are within 1000 ms and a day";
    assert_eq!(told, [format!("VALIDATION_ERROR: Session s cannot be created: {rule}")]);
}

fn participants(count: u128) -> Vec<NewParticipant> {
    let bank = limits::CLOCK_MIN;
    let one =
        |bits| NewParticipant { id: ParticipantId::from_bits(bits), index: 0, bank, group: None };
    (1..=count).map(one).collect()
}

fn group(bits: u128, bank: u64) -> Group {
    Group { id: GroupId::from_bits(bits), bank: Millis::new(bank) }
}
