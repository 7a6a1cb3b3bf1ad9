//! Warnings: when the running clock has a threshold left, once each, without a version.

use super::check;

const GIVEN: &str =
    "create s per_participant a=5000 b=5000 increment=200 warnings=1000,3000,5000,9000 @0";

#[test]
fn a_threshold_warns_when_the_clock_crosses_it() {
    check(
        GIVEN,
        &[
            (
                "thresholds that are not above the bank are skipped, the highest comes first",
                "start s @1000",
                "s:2 started a",
                "s:2 running a@1000 due 3000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond before",
                "start s @1000, tick @2999",
                "0 done",
                "s:2 running a@1000 due 3000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "at the threshold, nothing is charged and the version stays",
                "start s @1000, tick @3000",
                "s:2 warned a of 3000 @3000; 1 done",
                "s:2 running a@1000 due 5000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond after",
                "start s @1000, tick @3001",
                "s:2 warned a of 3000 @3000; 1 done",
                "s:2 running a@1000 due 5000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "once",
                "start s @1000, tick @3000, tick @4999",
                "0 done",
                "s:2 running a@1000 due 5000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "everything that fell due, in order",
                "start s @1000, tick @99999",
                "s:2 warned a of 3000 @3000; s:2 warned a of 1000 @5000; \
                 s:3 expired a@6000 (timeout); 1 done",
                "s:3 running a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "before the switch of the same millisecond",
                "start s @1000, switch s @3000",
                "s:2 warned a of 3000 @3000; s:3 switched a>b",
                "s:3 running b@3000 due 5000 | a 3200 +2000 x1 | b 5000 +0 x0",
            ),
            (
                "not before the switch of the millisecond before",
                "start s @1000, switch s @2999",
                "s:3 switched a>b",
                "s:3 running b@2999 due 4999 | a 3201 +1999 x1 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn a_pause_repeats_no_warning() {
    check(
        GIVEN,
        &[
            (
                "paused at the threshold",
                "start s @1000, pause s @3000, resume s @9000",
                "s:4 resumed",
                "s:4 running a@9000 due 11000 | a 3000 +2000 x0 | b 5000 +0 x0",
            ),
            (
                "paused a millisecond before the threshold",
                "start s @1000, pause s @2999, resume s @9000",
                "s:4 resumed",
                "s:4 running a@9000 due 9001 | a 3001 +1999 x0 | b 5000 +0 x0",
            ),
            (
                "paused a millisecond after the threshold",
                "start s @1000, pause s @3001, resume s @9000, tick @10999",
                "s:4 warned a of 1000 @10999; 1 done",
                "s:4 running a@9000 due 11999 | a 2999 +2001 x0 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn an_increment_over_the_threshold_warns_anew() {
    check(
        GIVEN,
        &[
            (
                "crossed, earned back, due again",
                "start s @1000, switch s to=a @3100",
                "s:2 warned a of 3000 @3000; s:3 switched a>a",
                "s:3 running a@3100 due 3200 | a 3100 +2100 x1 | b 5000 +0 x0",
            ),
            (
                "earned back to the threshold exactly",
                "start s @1000, switch s to=a @3200",
                "s:2 warned a of 3000 @3000; s:3 switched a>a",
                "s:3 running a@3200 due 5200 | a 3000 +2200 x1 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn warnings_follow_the_clock_that_runs() {
    check(
        "create s per_cycle a=9000 b=9000 cycle=2000 warnings=500 timeout=skip @0",
        &[(
            "each cycle, the skipped ones too",
            "start s @1000, tick @4500",
            "s:2 warned a of 500 @2500; s:3 skipped a>b@3000 (timeout); \
             s:3 warned b of 500 @4500; 1 done",
            "s:3 running b@3000 due 5000 | a 9000 +2000 x1 !3000 | b 9000 +0 x0",
        )],
    );
    check(
        "create s per_group a=2000/X b=2000/X warnings=1000 @0",
        &[(
            "the group, not each member",
            "start s @1000, switch s @4500, tick @9999",
            "s:4 expired b@5000 (timeout); 1 done",
            "s:4 running b@5000 | a 0 +3500 x1 !5000 | b 0 +500 x0 !5000",
        )],
    );
    check(
        "create s global a=9000 b=9000 total=4000 warnings=1000 @0",
        &[(
            "the countdown, whoever is active",
            "start s @1000, switch s @3500, tick @4000",
            "s:3 warned b of 1000 @4000; 1 done",
            "s:3 running b@3500 due 5000 | a 9000 +2500 x1 | b 9000 +0 x0",
        )],
    );
    check(
        "create s count_up a=9000 b=9000 ceiling=4000 warnings=1000 @0",
        &[(
            "what is left up to the ceiling",
            "start s @1000, switch s @4500",
            "s:2 warned a of 1000 @4000; s:3 switched a>b",
            "s:3 running b@4500 due 5000 | a 9000 +3500 x1 | b 9000 +0 x0",
        )],
    );
}
