//! `per_group`: members of a group share a bank.

use super::check;

/// Group `X` is `a` and `b` with the sum of their banks, group `Y` is `c` with a bank of its own.
const TEAMS: &str = "create s per_group a=2000/X c=5000/Y b=3000/X Y=4000 increment=200 @0";

#[test]
fn members_share_a_bank() {
    check(
        TEAMS,
        &[
            (
                "each shows the bank of the group",
                "start s @1000",
                "s:2 started a",
                "s:2 running a@1000 due 6000 | a 5000 +0 x0 | c 4000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "a cycle is charged to all of them, and the increment earned by all",
                "start s @1000, switch s @3000",
                "s:3 switched a>c",
                "s:3 running c@3000 due 7000 | a 3200 +2000 x1 | c 4000 +0 x0 | b 3200 +0 x0",
            ),
            (
                "within the group the bank runs on",
                "start s @1000, switch s to=b @3000",
                "s:3 switched a>b",
                "s:3 running b@3000 due 6200 | a 3200 +2000 x1 | c 4000 +0 x0 | b 3200 +0 x0",
            ),
            (
                "a millisecond before the deadline",
                "start s @1000, switch s @5999",
                "s:3 switched a>c",
                "s:3 running c@5999 due 9999 | a 201 +4999 x1 | c 4000 +0 x0 | b 201 +0 x0",
            ),
            (
                "at the deadline all members are out of time",
                "start s @1000, switch s @6000",
                "s:3 expired a@6000 (timeout); s:4 switched a>c; a is out of time",
                "s:4 running c@6000 due 10000 | a 0 +5000 x1 !6000 | c 4000 +0 x0 | b 0 +0 x0 !6000",
            ),
            (
                "a millisecond after, overtime is the member's own",
                "start s @1000, switch s @6001",
                "s:3 expired a@6000 (timeout); s:4 switched a>c; a is out of time",
                "s:4 running c@6001 due 10001 | a 0 +5001 x1 !6000 | c 4000 +0 x0 | b 0 +0 x0 !6000",
            ),
            (
                "a member of an expired group plays on without increment",
                "start s @1000, switch s to=b @6001, switch s @7000",
                "s:5 switched b>a; b is out of time",
                "s:5 running a@7000 | a 0 +5001 x1 !6000 | c 4000 +0 x0 | b 0 +999 x1 !6000",
            ),
        ],
    );
}

#[test]
fn pause_resume_and_complete_charge_the_group() {
    check(
        TEAMS,
        &[
            (
                "pause",
                "start s @1000, pause s @3000",
                "s:3 paused",
                "s:3 paused a | a 3000 +2000 x0 | c 4000 +0 x0 | b 3000 +0 x0",
            ),
            (
                "pause a millisecond before the deadline",
                "start s @1000, pause s @5999",
                "s:3 paused",
                "s:3 paused a | a 1 +4999 x0 | c 4000 +0 x0 | b 1 +0 x0",
            ),
            (
                "pause at the deadline",
                "start s @1000, pause s @6000",
                "s:3 expired a@6000 (timeout); s:4 paused",
                "s:4 paused a | a 0 +5000 x0 !6000 | c 4000 +0 x0 | b 0 +0 x0 !6000",
            ),
            (
                "resume",
                "start s @1000, pause s @3000, resume s @5000",
                "s:4 resumed",
                "s:4 running a@5000 due 8000 | a 3000 +2000 x0 | c 4000 +0 x0 | b 3000 +0 x0",
            ),
            (
                "complete",
                "start s @1000, complete s @6001",
                "s:3 expired a@6000 (timeout); s:4 completed",
                "s:4 completed @6001 | a 0 +5001 x0 !6000 | c 4000 +0 x0 | b 0 +0 x0 !6000",
            ),
        ],
    );
}

#[test]
fn a_skip_passes_over_the_whole_group() {
    check(
        "create s per_group a=2000/X b=3000/X c=4000/Y d=1000/Y timeout=skip @0",
        &[
            (
                "to the next group",
                "start s @1000, tick @6000",
                "s:3 skipped a>c@6000 (timeout); 1 done",
                "s:3 running c@6000 due 11000 | a 0 +5000 x1 !6000 | b 0 +0 x0 !6000 \
                 | c 5000 +0 x0 | d 5000 +0 x0",
            ),
            (
                "a plain switch passes over it too",
                "start s @1000, tick @6000, switch s to=d @7000, switch s @8000",
                "s:5 switched d>c",
                "s:5 running c@8000 due 11000 | a 0 +5000 x1 !6000 | b 0 +0 x0 !6000 \
                 | c 3000 +1000 x1 | d 3000 +1000 x1",
            ),
            (
                "nobody is left when both groups are out",
                "start s @1000, tick @11000",
                "s:3 skipped a>c@6000 (timeout); s:4 ended c@11000 (timeout); 1 done",
                "s:4 expired c@11000 | a 0 +5000 x1 !6000 | b 0 +0 x0 !6000 \
                 | c 0 +5000 x0 !11000 | d 0 +0 x0 !11000",
            ),
        ],
    );
}

#[test]
fn who_has_no_group_has_an_own_bank() {
    check(
        "create s per_group a=2000/X b=3000 @0",
        &[
            (
                "the bank of a group of one",
                "start s @1000, switch s @2999",
                "s:3 switched a>b",
                "s:3 running b@2999 due 5999 | a 1 +1999 x1 | b 3000 +0 x0",
            ),
            (
                "the own bank",
                "start s @1000, switch s @2999, switch s @5999",
                "s:4 expired b@5999 (timeout); s:5 switched b>a; b is out of time",
                "s:5 running a@5999 due 6000 | a 1 +1999 x1 | b 0 +3000 x1 !5999",
            ),
        ],
    );
}
