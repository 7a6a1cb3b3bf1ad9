//! Versions: one more for each change, and what a command that expects one is told.

use super::{check, script::Stage};
use crate::{
    command::{Command, Expected, Stamped},
    reject::Reject,
};

const GIVEN: &str = "create s per_participant a=5000 b=5000 @0";
const CONFLICT: &str = "CONCURRENT_MODIFICATION: Concurrent modification detected, please retry";
const PENDING: &str = "s:1 pending | a 5000 +0 x0 | b 5000 +0 x0";

#[test]
fn an_exact_version_must_be_the_settled_one() {
    let running = "s:2 running a@1000 due 6000 | a 5000 +0 x0 | b 5000 +0 x0";
    let switched = "s:3 running b@2000 due 7000 | a 4000 +1000 x1 | b 5000 +0 x0";
    let expired = "s:3 running a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0";
    let expired_and_conflict = "s:3 expired a@6000 (timeout); \
        CONCURRENT_MODIFICATION: Concurrent modification detected, please retry";
    check(
        GIVEN,
        &[
            ("older", "start s @1000, switch s expect=1 @2000", CONFLICT, running),
            ("the same", "start s @1000, switch s expect=2 @2000", "s:3 switched a>b", switched),
            ("newer", "start s @1000, switch s expect=3 @2000", CONFLICT, running),
            (
                "the clock changed it",
                "start s @1000, switch s expect=2 @6000",
                expired_and_conflict,
                expired,
            ),
            (
                "what the clock made of it",
                "start s @1000, pause s expect=3 @6000",
                "s:3 expired a@6000 (timeout); s:4 paused",
                "s:4 paused a | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn a_seen_version_holds_until_somebody_commands() {
    let running = "s:2 running a@1000 due 6000 | a 5000 +0 x0 | b 5000 +0 x0";
    let switched = "s:3 running b@2000 due 7000 | a 4000 +1000 x1 | b 5000 +0 x0";
    check(
        GIVEN,
        &[
            ("older", "start s @1000, switch s seen=1 @2000", CONFLICT, running),
            ("the same", "start s @1000, switch s seen=2 @2000", "s:3 switched a>b", switched),
            (
                "a double tap",
                "start s @1000, switch s seen=2 @2000, switch s seen=2 @2000",
                CONFLICT,
                switched,
            ),
            (
                "only the clock changed it",
                "start s @1000, switch s seen=2 @6000",
                "s:3 expired a@6000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@6000 due 11000 | a 0 +5000 x1 !6000 | b 5000 +0 x0",
            ),
            (
                "seen after the clock changed it",
                "start s @1000, tick @6000, switch s seen=3 @6500",
                "s:4 switched a>b; a is out of time",
                "s:4 running b@6500 due 11500 | a 0 +5500 x1 !6000 | b 5000 +0 x0",
            ),
            (
                "seen before the clock and another command changed it",
                "start s @1000, switch s @6000, switch s seen=3 @6500",
                CONFLICT,
                "s:4 running b@6000 due 11000 | a 0 +5000 x1 !6000 | b 5000 +0 x0",
            ),
            ("created since", "start s seen=0 @1000", CONFLICT, PENDING),
        ],
    );
}

#[test]
fn a_lost_race_is_a_conflict_whatever_the_new_state_would_say() {
    let paused = "s:3 paused a | a 4000 +1000 x0 | b 5000 +0 x0";
    let running = "s:2 running a@1000 due 6000 | a 5000 +0 x0 | b 5000 +0 x0";
    check(
        GIVEN,
        &[
            ("start, start", "start s @1000, start s seen=1 @1000", CONFLICT, running),
            (
                "pause, switch",
                "start s @1000, pause s @2000, switch s seen=2 @2000",
                CONFLICT,
                paused,
            ),
            (
                "pause, pause",
                "start s @1000, pause s @2000, pause s seen=2 @2000",
                CONFLICT,
                paused,
            ),
            (
                "pause, complete",
                "start s @1000, pause s @2000, complete s seen=2 @2000",
                CONFLICT,
                paused,
            ),
            (
                "pause, resume as of before the pause",
                "start s @1000, pause s @2000, resume s expect=2 @2000",
                CONFLICT,
                paused,
            ),
            (
                "before it is told that a participant does not exist",
                "start s @1000, pause s @2000, switch s to=z seen=2 @2000",
                CONFLICT,
                paused,
            ),
        ],
    );
}

#[test]
fn a_conflict_names_both_versions() {
    let mut stage = Stage::default();
    stage.run(GIVEN);
    stage.run("start s @1000");
    let session = stage.machine.sessions().next().unwrap().id;
    for expected in [Expected::Exactly(1), Expected::Seen(1)] {
        let command = Command::Pause { session, expected };
        let stamped = Stamped { stamp: stage.machine.now(), command };
        let answer = stage.machine.apply_one(&stamped, &mut Vec::new());
        assert_eq!(answer, Err(Reject::VersionMoved { session, expected: 1, actual: 2 }));
    }
}
