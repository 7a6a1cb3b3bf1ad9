//! `count_up`: a stopwatch, with an optional ceiling.

use super::check;

#[test]
fn without_a_ceiling_nothing_falls_due() {
    check(
        "create s count_up a=5000 b=5000 increment=200 timeout=end warnings=1000 @0",
        &[
            (
                "start",
                "start s @1000",
                "s:2 started a",
                "s:2 running a@1000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a day later",
                "start s @1000, switch s @2000, tick @86400000",
                "0 done",
                "s:3 running b@2000 | a 5000 +1000 x1 | b 5000 +0 x0",
            ),
            (
                "each has a stopwatch",
                "start s @1000, switch s @2000, switch s @86402000",
                "s:4 switched b>a",
                "s:4 running a@86402000 | a 5000 +1000 x1 | b 5000 +86400000 x1",
            ),
        ],
    );
}

#[test]
fn the_ceiling_is_on_the_session() {
    check(
        "create s count_up a=5000 b=5000 ceiling=4000 @0",
        &[
            (
                "a millisecond before",
                "start s @1000, switch s @2000, switch s @4999",
                "s:4 switched b>a",
                "s:4 running a@4999 due 5000 | a 5000 +1000 x1 | b 5000 +2999 x1",
            ),
            (
                "at the ceiling",
                "start s @1000, switch s @2000, switch s @5000",
                "s:4 ended b@5000 (timeout); \
                 PARTICIPANT_EXPIRED: Session s not running (current status: expired)",
                "s:4 expired b@5000 | a 5000 +1000 x1 | b 5000 +3000 x0 !5000",
            ),
            (
                "a millisecond after",
                "start s @1000, switch s @2000, tick @5001",
                "s:4 ended b@5000 (timeout); 1 done",
                "s:4 expired b@5000 | a 5000 +1000 x1 | b 5000 +3000 x0 !5000",
            ),
            (
                "a pause does not count",
                "start s @1000, pause s @2000, resume s @9000",
                "s:4 resumed",
                "s:4 running a@9000 due 12000 | a 5000 +1000 x0 | b 5000 +0 x0",
            ),
            (
                "pause a millisecond before",
                "start s @1000, pause s @4999",
                "s:3 paused",
                "s:3 paused a | a 5000 +3999 x0 | b 5000 +0 x0",
            ),
            (
                "pause at the ceiling is too late",
                "start s @1000, pause s @5000",
                "s:3 ended a@5000 (timeout); \
                 INVALID_SESSION_STATE: Session s cannot be paused (current status: expired)",
                "s:3 expired a@5000 | a 5000 +4000 x0 !5000 | b 5000 +0 x0",
            ),
            (
                "complete",
                "start s @1000, complete s @4999",
                "s:3 completed",
                "s:3 completed @4999 | a 5000 +3999 x0 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn with_notify_the_stopwatch_runs_on() {
    check(
        "create s count_up a=5000 b=5000 ceiling=4000 timeout=notify @0",
        &[
            (
                "at the ceiling",
                "start s @1000, tick @5000",
                "s:3 expired a@5000 (timeout); 1 done",
                "s:3 running a@5000 | a 5000 +4000 x0 !5000 | b 5000 +0 x0",
            ),
            (
                "after it",
                "start s @1000, switch s @5001, switch s @6000",
                "s:5 switched b>a",
                "s:5 running a@6000 | a 5000 +4001 x1 !5000 | b 5000 +999 x1",
            ),
        ],
    );
}
