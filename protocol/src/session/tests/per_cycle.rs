//! `per_cycle`: a fresh clock every cycle; banks are decoration.

use super::check;

const POKER: &str = "create s per_cycle a=5000 b=5000 cycle=2000 increment=200 @0";

#[test]
fn every_cycle_has_the_whole_time() {
    check(
        POKER,
        &[
            (
                "start",
                "start s @1000",
                "s:2 started a",
                "s:2 running a@1000 due 3000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond before the deadline, no increment",
                "start s @1000, switch s @2999",
                "s:3 switched a>b",
                "s:3 running b@2999 due 4999 | a 5000 +1999 x1 | b 5000 +0 x0",
            ),
            (
                "at the deadline",
                "start s @1000, switch s @3000",
                "s:3 expired a@3000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@3000 due 5000 | a 5000 +2000 x1 !3000 | b 5000 +0 x0",
            ),
            (
                "a millisecond after",
                "start s @1000, switch s @3001",
                "s:3 expired a@3000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@3001 due 5001 | a 5000 +2001 x1 !3000 | b 5000 +0 x0",
            ),
            (
                "overtime runs on until somebody switches",
                "start s @1000, tick @9000",
                "s:3 expired a@3000 (timeout); 1 done",
                "s:3 running a@3000 | a 5000 +2000 x0 !3000 | b 5000 +0 x0",
            ),
            (
                "the next cycle clears the expiry",
                "start s @1000, switch s @9000, switch s @9500",
                "s:5 switched b>a",
                "s:5 running a@9500 due 11500 | a 5000 +8000 x1 | b 5000 +500 x1",
            ),
            (
                "to oneself is a new cycle",
                "start s @1000, switch s to=a @3500",
                "s:3 expired a@3000 (timeout); s:4 switched a>a; a is out of time",
                "s:4 running a@3500 due 5500 | a 5000 +2500 x1 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn without_a_time_per_cycle_the_total_is_it() {
    check(
        "create s per_cycle a=5000 b=5000 total=4000 @0",
        &[
            (
                "first cycle",
                "start s @1000",
                "s:2 started a",
                "s:2 running a@1000 due 5000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "second cycle",
                "start s @1000, switch s @4999",
                "s:3 switched a>b",
                "s:3 running b@4999 due 8999 | a 5000 +3999 x1 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn a_pause_does_not_make_a_cycle_longer() {
    check(
        POKER,
        &[
            (
                "the rest of the cycle is left",
                "start s @1000, pause s @2500, resume s @8000",
                "s:4 resumed",
                "s:4 running a@8000 due 8500 | a 5000 +1500 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond before the end of the rest",
                "start s @1000, pause s @2500, resume s @8000, switch s @8499",
                "s:5 switched a>b",
                "s:5 running b@8499 due 10499 | a 5000 +1999 x1 | b 5000 +0 x0",
            ),
            (
                "at the end of the rest",
                "start s @1000, pause s @2500, resume s @8000, switch s @8500",
                "s:5 expired a@8500 (timeout); s:6 switched a>b; a is out of time",
                "s:6 running b@8500 due 10500 | a 5000 +2000 x1 !8500 | b 5000 +0 x0",
            ),
            (
                "at the deadline the expiry settles first",
                "start s @1000, pause s @3000",
                "s:3 expired a@3000 (timeout); s:4 paused",
                "s:4 paused a | a 5000 +2000 x0 !3000 | b 5000 +0 x0",
            ),
            (
                "an expired cycle does not fall due again after a pause",
                "start s @1000, pause s @3000, resume s @4000, tick @9999",
                "0 done",
                "s:5 running a@4000 | a 5000 +2000 x0 !3000 | b 5000 +0 x0",
            ),
            (
                "complete charges the cycle",
                "start s @1000, complete s @2999",
                "s:3 completed",
                "s:3 completed @2999 | a 5000 +1999 x0 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn a_skipped_cycle_counts_and_the_next_one_starts_at_the_deadline() {
    check(
        "create s per_cycle a=5000 b=5000 c=5000 cycle=2000 timeout=skip @0",
        &[
            (
                "a millisecond before",
                "start s @1000, tick @2999",
                "0 done",
                "s:2 running a@1000 due 3000 | a 5000 +0 x0 | b 5000 +0 x0 | c 5000 +0 x0",
            ),
            (
                "at the deadline",
                "start s @1000, tick @3000",
                "s:3 skipped a>b@3000 (timeout); 1 done",
                "s:3 running b@3000 due 5000 | a 5000 +2000 x1 !3000 | b 5000 +0 x0 | c 5000 +0 x0",
            ),
            (
                "late by a millisecond, the next has lost it",
                "start s @1000, switch s @3001",
                "s:3 skipped a>b@3000 (timeout); s:4 switched b>c",
                "s:4 running c@3001 due 5001 | a 5000 +2000 x1 !3000 | b 5000 +1 x1 | c 5000 +0 x0",
            ),
            (
                "when nobody is left, the session expires",
                "start s @1000, tick @99999",
                "s:3 skipped a>b@3000 (timeout); s:4 skipped b>c@5000 (timeout); \
                 s:5 ended c@7000 (timeout); 1 done",
                "s:5 expired c@7000 | a 5000 +2000 x1 !3000 | b 5000 +2000 x1 !5000 \
                 | c 5000 +2000 x0 !7000",
            ),
            (
                "a plain switch skips nobody",
                "start s @1000, tick @3000, switch s @3500, switch s @4000",
                "s:5 switched c>a",
                "s:5 running a@4000 due 6000 | a 5000 +2000 x1 | b 5000 +500 x1 | c 5000 +500 x1",
            ),
            (
                "a skip passes over those who have not had a cycle since they expired",
                "start s @1000, tick @3000, switch s to=c @3500, switch s to=b @4000, \
                 switch s to=c @4500, tick @6500",
                "s:7 skipped c>b@6500 (timeout); 1 done",
                "s:7 running b@6500 due 8500 | a 5000 +2000 x1 !3000 | b 5000 +1000 x2 \
                 | c 5000 +2500 x2 !6500",
            ),
        ],
    );
}

#[test]
fn auto_advance_is_a_skip_by_the_service() {
    check(
        "create s per_cycle a=5000 b=5000 cycle=2000 auto=true timeout=notify @0",
        &[(
            "skips although the timeout would only notify",
            "start s @1000, tick @3000",
            "s:3 skipped a>b@3000 (auto); 1 done",
            "s:3 running b@3000 due 5000 | a 5000 +2000 x1 !3000 | b 5000 +0 x0",
        )],
    );
    check(
        "create s per_cycle a=5000 b=5000 cycle=2000 auto=true timeout=fold @0",
        &[(
            "with a word for the application",
            "start s @1000, tick @3000",
            "s:3 skipped a>b@3000 fold (auto); 1 done",
            "s:3 running b@3000 due 5000 | a 5000 +2000 x1 !3000 | b 5000 +0 x0",
        )],
    );
}
