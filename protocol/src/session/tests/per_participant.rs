//! `per_participant`: v2's arithmetic to the millisecond, with expiry at its due time.

use super::check;

const CHESS: &str = "create s per_participant a=5000 b=5000 increment=200 @0";

#[test]
fn start_puts_the_first_on_the_clock() {
    check(
        CHESS,
        &[(
            "start",
            "start s @1000",
            "s:2 started a",
            "s:2 running a@1000 due 6000 | a 5000 +0 x0 | b 5000 +0 x0",
        )],
    );
    check(
        "create s per_participant a=5000 b=7000 first=b @0",
        &[
            (
                "the creator chose who starts",
                "start s @1000",
                "s:2 started b",
                "s:2 running b@1000 due 8000 | a 5000 +0 x0 | b 7000 +0 x0",
            ),
            (
                "turn order is that of the array all the same",
                "start s @1000, switch s @1500",
                "s:3 switched b>a",
                "s:3 running a@1500 due 6500 | a 5000 +0 x0 | b 6500 +500 x1",
            ),
        ],
    );
}

#[test]
fn switch_charges_whoever_was_active() {
    check(
        CHESS,
        &[
            (
                "instant switch earns the increment",
                "start s @1000, switch s @1000",
                "s:3 switched a>b",
                "s:3 running b@1000 due 6000 | a 5200 +0 x1 | b 5000 +0 x0",
            ),
            (
                "ordinary cycle",
                "start s @1000, switch s @3500",
                "s:3 switched a>b",
                "s:3 running b@3500 due 8500 | a 2700 +2500 x1 | b 5000 +0 x0",
            ),
            (
                "last possible millisecond",
                "start s @1000, switch s @5999",
                "s:3 switched a>b",
                "s:3 running b@5999 due 10999 | a 201 +4999 x1 | b 5000 +0 x0",
            ),
            (
                "exactly out of time",
                "start s @1000, switch s @6000",
                "s:3 expired a@6000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@6000 due 11000 | a 0 +5000 x1 !6000 | b 5000 +0 x0",
            ),
            (
                "a millisecond of overtime is used and earns nothing",
                "start s @1000, switch s @6001",
                "s:3 expired a@6000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@6001 due 11001 | a 0 +5001 x1 !6000 | b 5000 +0 x0",
            ),
            (
                "long out of time, used is not capped",
                "start s @1000, switch s @60000",
                "s:3 expired a@6000 (timeout); s:4 switched a>b; a is out of time",
                "s:4 running b@60000 due 65000 | a 0 +59000 x1 !6000 | b 5000 +0 x0",
            ),
            (
                "a new leader's clock trails",
                "start s @1000, switch s @400",
                "s:3 switched a>b",
                "s:3 running b@1000 due 6000 | a 5200 +0 x1 | b 5000 +0 x0",
            ),
            (
                "to oneself",
                "start s @1000, switch s to=a @2000",
                "s:3 switched a>a",
                "s:3 running a@2000 due 6200 | a 4200 +1000 x1 | b 5000 +0 x0",
            ),
            (
                "around the table",
                "start s @1000, switch s @2000, switch s @3000",
                "s:4 switched b>a",
                "s:4 running a@3000 due 7200 | a 4200 +1000 x1 | b 4200 +1000 x1",
            ),
        ],
    );
}

#[test]
fn an_explicit_next_wins_over_the_turn_order() {
    check(
        "create s per_participant a=5000 b=5000 c=5000 @0",
        &[
            (
                "over b",
                "start s @1000, switch s to=c @2000",
                "s:3 switched a>c",
                "s:3 running c@2000 due 7000 | a 4000 +1000 x1 | b 5000 +0 x0 | c 5000 +0 x0",
            ),
            (
                "the turn order goes on from there",
                "start s @1000, switch s to=c @2000, switch s @2500",
                "s:4 switched c>a",
                "s:4 running a@2500 due 6500 | a 4000 +1000 x1 | b 5000 +0 x0 | c 4500 +500 x1",
            ),
        ],
    );
}

#[test]
fn a_bank_may_grow_over_what_was_given() {
    check(
        CHESS,
        &[(
            "three instant cycles",
            "start s @1000, switch s to=a @1000, switch s to=a @1000, switch s to=a @1000",
            "s:5 switched a>a",
            "s:5 running a@1000 due 6600 | a 5600 +0 x3 | b 5000 +0 x0",
        )],
    );
}

#[test]
fn who_is_out_of_time_stays_so_and_plays_on() {
    check(
        CHESS,
        &[
            (
                "active again, without a clock that falls due",
                "start s @1000, switch s @7000, switch s @8000",
                "s:5 switched b>a",
                "s:5 running a@8000 | a 0 +6000 x1 !6000 | b 4200 +1000 x1",
            ),
            (
                "reported again, counted again, no increment",
                "start s @1000, switch s @7000, switch s @8000, switch s @8500",
                "s:6 switched a>b; a is out of time",
                "s:6 running b@8500 due 12700 | a 0 +6500 x2 !6000 | b 4200 +1000 x1",
            ),
            (
                "both",
                "start s @1000, switch s @7000, tick @99999, switch s @100000",
                "s:6 switched b>a; b is out of time",
                "s:6 running a@100000 | a 0 +6000 x1 !6000 | b 0 +93000 x1 !12000",
            ),
        ],
    );
}

#[test]
fn one_participant_follows_oneself() {
    check(
        "create s per_participant a=5000 increment=200 @0",
        &[
            (
                "in time",
                "start s @1000, switch s @2000",
                "s:3 switched a>a",
                "s:3 running a@2000 due 6200 | a 4200 +1000 x1",
            ),
            (
                "out of time",
                "start s @1000, switch s @6000",
                "s:3 expired a@6000 (timeout); s:4 switched a>a; a is out of time",
                "s:4 running a@6000 | a 0 +5000 x1 !6000",
            ),
        ],
    );
}

#[test]
fn pause_charges_but_ends_no_cycle() {
    check(
        CHESS,
        &[
            (
                "neither increment nor cycle",
                "start s @1000, pause s @3000",
                "s:3 paused",
                "s:3 paused a | a 3000 +2000 x0 | b 5000 +0 x0",
            ),
            (
                "at once",
                "start s @1000, pause s @1000",
                "s:3 paused",
                "s:3 paused a | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond before the deadline",
                "start s @1000, pause s @5999",
                "s:3 paused",
                "s:3 paused a | a 1 +4999 x0 | b 5000 +0 x0",
            ),
            (
                "at the deadline the expiry settles first",
                "start s @1000, pause s @6000",
                "s:3 expired a@6000 (timeout); s:4 paused",
                "s:4 paused a | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "a millisecond after",
                "start s @1000, pause s @6001",
                "s:3 expired a@6000 (timeout); s:4 paused",
                "s:4 paused a | a 0 +5001 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "the time of a pause is nobody's",
                "start s @1000, pause s @3000, tick @99999",
                "0 done",
                "s:3 paused a | a 3000 +2000 x0 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn resume_goes_on_with_what_was_left() {
    check(
        CHESS,
        &[
            (
                "resume",
                "start s @1000, pause s @3000, resume s @9000",
                "s:4 resumed",
                "s:4 running a@9000 due 12000 | a 3000 +2000 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond before the deadline",
                "start s @1000, pause s @3000, resume s @9000, switch s @11999",
                "s:5 switched a>b",
                "s:5 running b@11999 due 16999 | a 201 +4999 x1 | b 5000 +0 x0",
            ),
            (
                "at the deadline",
                "start s @1000, pause s @3000, resume s @9000, switch s @12000",
                "s:5 expired a@12000 (timeout); s:6 switched a>b; a is out of time",
                "s:6 running b@12000 due 17000 | a 0 +5000 x1 !12000 | b 5000 +0 x0",
            ),
            (
                "with the last millisecond",
                "start s @1000, pause s @5999, resume s @9000, tick @9001",
                "s:5 expired a@9001 (timeout); 1 done",
                "s:5 running a@9001 | a 0 +5000 x0 !9001 | b 5000 +0 x0",
            ),
            (
                "out of time already",
                "start s @1000, pause s @6000, resume s @9000, pause s @9500",
                "s:6 paused",
                "s:6 paused a | a 0 +5500 x0 !6000 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn complete_charges_the_running_cycle() {
    check(
        CHESS,
        &[
            (
                "running",
                "start s @1000, complete s @3000",
                "s:3 completed",
                "s:3 completed @3000 | a 3000 +2000 x0 | b 5000 +0 x0",
            ),
            (
                "a millisecond before the deadline",
                "start s @1000, complete s @5999",
                "s:3 completed",
                "s:3 completed @5999 | a 1 +4999 x0 | b 5000 +0 x0",
            ),
            (
                "at the deadline the expiry settles first",
                "start s @1000, complete s @6000",
                "s:3 expired a@6000 (timeout); s:4 completed",
                "s:4 completed @6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "a millisecond after",
                "start s @1000, complete s @6001",
                "s:3 expired a@6000 (timeout); s:4 completed",
                "s:4 completed @6001 | a 0 +5001 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "paused",
                "start s @1000, pause s @3000, complete s @9000",
                "s:4 completed",
                "s:4 completed @9000 | a 3000 +2000 x0 | b 5000 +0 x0",
            ),
            (
                "never started",
                "complete s @3000",
                "s:2 completed",
                "s:2 completed @3000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "again",
                "complete s @3000, complete s @4000",
                "s:3 completed",
                "s:3 completed @4000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
        ],
    );
}
