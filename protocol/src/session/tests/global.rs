//! `global`: one countdown for all, whoever is active.

use super::check;

const EXAM: &str = "create s global a=5000 b=5000 total=4000 increment=200 @0";

#[test]
fn one_countdown_for_all_ends_the_session() {
    check(
        EXAM,
        &[
            (
                "start",
                "start s @1000",
                "s:2 started a",
                "s:2 running a@1000 due 5000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a switch moves no deadline and earns no increment",
                "start s @1000, switch s @2000",
                "s:3 switched a>b",
                "s:3 running b@2000 due 5000 | a 5000 +1000 x1 | b 5000 +0 x0",
            ),
            (
                "a millisecond before the deadline",
                "start s @1000, switch s @2000, switch s @4999",
                "s:4 switched b>a",
                "s:4 running a@4999 due 5000 | a 5000 +1000 x1 | b 5000 +2999 x1",
            ),
            (
                "at the deadline",
                "start s @1000, switch s @2000, switch s @5000",
                "s:4 ended b@5000 (timeout); \
                 PARTICIPANT_EXPIRED: Session s not running (current status: expired)",
                "s:4 expired b@5000 | a 5000 +1000 x1 | b 5000 +3000 x0 !5000",
            ),
            (
                "a millisecond after, nothing more is used",
                "start s @1000, switch s @2000, switch s @5001",
                "s:4 ended b@5000 (timeout); \
                 PARTICIPANT_EXPIRED: Session s not running (current status: expired)",
                "s:4 expired b@5000 | a 5000 +1000 x1 | b 5000 +3000 x0 !5000",
            ),
        ],
    );
}

#[test]
fn pause_stops_the_countdown() {
    check(
        EXAM,
        &[
            (
                "a millisecond before the deadline",
                "start s @1000, pause s @4999",
                "s:3 paused",
                "s:3 paused a | a 5000 +3999 x0 | b 5000 +0 x0",
            ),
            (
                "at the deadline it is too late",
                "start s @1000, pause s @5000",
                "s:3 ended a@5000 (timeout); \
                 INVALID_SESSION_STATE: Session s cannot be paused (current status: expired)",
                "s:3 expired a@5000 | a 5000 +4000 x0 !5000 | b 5000 +0 x0",
            ),
            (
                "resume",
                "start s @1000, switch s @2000, pause s @3000, resume s @9000",
                "s:5 resumed",
                "s:5 running b@9000 due 11000 | a 5000 +1000 x1 | b 5000 +1000 x0",
            ),
            (
                "complete in time",
                "start s @1000, complete s @4999",
                "s:3 completed",
                "s:3 completed @4999 | a 5000 +3999 x0 | b 5000 +0 x0",
            ),
            (
                "complete of what has ended",
                "start s @1000, complete s @5000",
                "s:3 ended a@5000 (timeout); s:4 completed",
                "s:4 completed @5000 | a 5000 +4000 x0 !5000 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn with_notify_the_session_runs_on_and_nobody_else_expires() {
    check(
        "create s global a=5000 b=5000 total=4000 timeout=notify @0",
        &[
            (
                "at the deadline",
                "start s @1000, tick @5000",
                "s:3 expired a@5000 (timeout); 1 done",
                "s:3 running a@5000 | a 5000 +4000 x0 !5000 | b 5000 +0 x0",
            ),
            (
                "the next one has no deadline",
                "start s @1000, switch s @5001",
                "s:3 expired a@5000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@5001 | a 5000 +4001 x1 !5000 | b 5000 +0 x0",
            ),
            (
                "nor is reported",
                "start s @1000, switch s @5001, switch s @6000",
                "s:5 switched b>a",
                "s:5 running a@6000 | a 5000 +4001 x1 !5000 | b 5000 +999 x1",
            ),
        ],
    );
}
