//! What happens at a deadline in every mode with every `on_timeout`, and how ticks find it.

use super::{check, script::Stage};

#[test]
fn the_deadline_decides_in_every_mode() {
    // Every clock is 4000 ms and starts at 1000. Mode, `on_timeout`, what happens at 5000.
    let (notified, ended) = ("expired a@5000 (timeout)", "ended a@5000 (timeout)");
    let (skipped, word) = ("skipped a>b@5000 (timeout)", "expired a@5000 fold (timeout)");
    let advanced = "skipped a>b@5000 (auto)";
    let table = [
        ("per_participant", "", notified),
        ("per_participant", "timeout=notify", notified),
        ("per_participant", "timeout=skip", skipped),
        ("per_participant", "timeout=end", ended),
        ("per_participant", "timeout=fold", word),
        ("per_participant", "auto=true", notified),
        ("per_cycle", "", notified),
        ("per_cycle", "timeout=notify", notified),
        ("per_cycle", "timeout=skip", skipped),
        ("per_cycle", "timeout=end", ended),
        ("per_cycle", "timeout=fold", word),
        ("per_cycle", "auto=false", notified),
        ("per_cycle", "auto=true", advanced),
        ("per_cycle", "auto=true timeout=notify", advanced),
        ("per_cycle", "auto=true timeout=skip", advanced),
        ("per_cycle", "auto=true timeout=end", ended),
        ("per_group", "", notified),
        ("per_group", "timeout=notify", notified),
        ("per_group", "timeout=skip", skipped),
        ("per_group", "timeout=end", ended),
        ("per_group", "timeout=fold", word),
        ("per_group", "auto=true", notified),
        ("global", "", ended),
        ("global", "timeout=notify", notified),
        ("global", "timeout=skip", ended),
        ("global", "timeout=end", ended),
        ("global", "timeout=fold", word),
        ("global", "auto=true", ended),
        ("count_up", "", ended),
        ("count_up", "timeout=notify", notified),
        ("count_up", "timeout=skip", ended),
        ("count_up", "timeout=end", ended),
        ("count_up", "timeout=fold", word),
        ("count_up", "auto=true", ended),
    ];
    for (mode, on_timeout, what) in table {
        let case = format!("{mode} {on_timeout}");
        let clocks = "a=4000/X b=4000/Y cycle=4000 total=4000 ceiling=4000";
        let create = format!("create s {mode} {clocks} {on_timeout} @0");
        let mut stage = Stage::default();
        stage.run(&create);
        stage.run("start s @1000");
        assert_eq!(stage.run("tick @4999"), ["0 done"], "{case}, a millisecond before");
        let mut late = Stage { machine: stage.machine.clone() };
        let told = [format!("s:3 {what}"), String::from("1 done")];
        assert_eq!(stage.run("tick @5000"), told, "{case}, at the deadline");
        assert_eq!(late.run("tick @5001"), told, "{case}, a millisecond after");
        assert_eq!(stage.describe("s"), late.describe("s"), "{case}: the timer was late, not it");
    }
}

#[test]
fn skips_go_around_the_table_until_nobody_is_left() {
    check(
        "create s per_participant a=1000 b=9000 c=2000 increment=500 timeout=skip @0",
        &[
            (
                "one after the other, each at its own time",
                "start s @1000, tick @99999",
                "s:3 skipped a>b@2000 (timeout); s:4 skipped b>c@11000 (timeout); \
                 s:5 ended c@13000 (timeout); 1 done",
                "s:5 expired c@13000 | a 0 +1000 x1 !2000 | b 0 +9000 x1 !11000 \
                 | c 0 +2000 x0 !13000",
            ),
            (
                "at the same stamp a switch finds the next one active",
                "start s @1000, switch s @2000",
                "s:3 skipped a>b@2000 (timeout); s:4 switched b>c",
                "s:4 running c@2000 due 4000 | a 0 +1000 x1 !2000 | b 9500 +0 x1 | c 2000 +0 x0",
            ),
            (
                "unless it names who it is for",
                "start s @1000, switch s from=a @2000",
                "s:3 skipped a>b@2000 (timeout); \
                 CONCURRENT_MODIFICATION: Participant a is not active in session s",
                "s:3 running b@2000 due 11000 | a 0 +1000 x1 !2000 | b 9000 +0 x0 | c 2000 +0 x0",
            ),
            (
                "a plain switch passes over who is out of time",
                "start s @1000, tick @2000, switch s @2500, switch s @3000",
                "s:5 switched c>b",
                "s:5 running b@3000 due 12000 | a 0 +1000 x1 !2000 | b 9000 +500 x1 | c 2000 +500 x1",
            ),
            (
                "the only one left follows oneself",
                "start s @1000, tick @2000, switch s to=c @2500, tick @4500, switch s @5000",
                "s:6 switched b>b",
                "s:6 running b@5000 due 14000 | a 0 +1000 x1 !2000 | b 9000 +1000 x2 \
                 | c 0 +2000 x1 !4500",
            ),
            (
                "an explicit switch to who is out of time is obeyed",
                "start s @1000, switch s to=a @2500",
                "s:3 skipped a>b@2000 (timeout); s:4 switched b>a",
                "s:4 running a@2500 | a 0 +1000 x1 !2000 | b 9000 +500 x1 | c 2000 +0 x0",
            ),
        ],
    );
}

#[test]
fn an_ended_session_stays_ended() {
    check(
        "create s per_participant a=5000 b=5000 timeout=end @0",
        &[
            (
                "a switch a millisecond before the deadline wins",
                "start s @1000, switch s @5999",
                "s:3 switched a>b",
                "s:3 running b@5999 due 10999 | a 1 +4999 x1 | b 5000 +0 x0",
            ),
            (
                "a switch at the deadline loses",
                "start s @1000, switch s @6000",
                "s:3 ended a@6000 (timeout); \
                 PARTICIPANT_EXPIRED: Session s not running (current status: expired)",
                "s:3 expired a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "it loses to a late timer too",
                "start s @1000, switch s @6001, tick @99999",
                "0 done",
                "s:3 expired a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "a stamp that trails cannot undo it",
                "start s @1000, tick @6000, switch s @5999",
                "PARTICIPANT_EXPIRED: Session s not running (current status: expired)",
                "s:3 expired a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
        ],
    );
}

#[test]
fn delete_does_not_hide_an_expiry() {
    check(
        "create s per_participant a=5000 b=5000 timeout=end @0",
        &[
            ("before the deadline", "start s @1000, delete s @5999", "s deleted @5999", "gone"),
            (
                "at the deadline",
                "start s @1000, delete s @6000",
                "s:3 ended a@6000 (timeout); s deleted @6000",
                "gone",
            ),
        ],
    );
}

/// Three sessions that fall due at 2000, 3000 and 4000, in another order than that of their ids.
fn three_clocks() -> Stage {
    let mut stage = Stage::default();
    for line in [
        "create s per_participant a=3000 @0",
        "create t per_participant a=1000 @0",
        "create u per_participant a=2000 @0",
        "start s @1000",
        "start t @1000",
        "start u @1000",
    ] {
        stage.run(line);
    }
    stage
}

#[test]
fn ticks_are_bounded_and_say_whether_more_waits() {
    let (t, u, s) = (
        "t:3 expired a@2000 (timeout)",
        "u:3 expired a@3000 (timeout)",
        "s:3 expired a@4000 (timeout)",
    );
    let table: [(&str, &[&str]); 10] = [
        ("tick @1999", &["0 done"]),
        ("tick @2000", &[t, "1 done"]),
        ("tick max=0 @9999", &["0 done, more waiting"]),
        ("tick max=1 @9999", &[t, "1 done, more waiting"]),
        ("tick max=2 @9999", &[t, u, "2 done, more waiting"]),
        ("tick max=3 @9999", &[t, u, s, "3 done"]),
        ("tick max=2 @3000", &[t, u, "2 done"]),
        ("tick max=1 @2999", &[t, "1 done"]),
        ("tick max=1 @3000", &[t, "1 done, more waiting"]),
        ("tick @9999", &[t, u, s, "3 done"]),
    ];
    for (tick, told) in table {
        assert_eq!(three_clocks().run(tick), told, "{tick}");
    }
}

#[test]
fn the_next_deadline_is_that_of_the_earliest_clock() {
    let mut stage = three_clocks();
    let next = |stage: &Stage| stage.machine.next_deadline().map(crate::time::Stamp::unix_millis);
    let table = [
        ("tick @1500", Some(2_000)),
        ("pause t @1500", Some(3_000)),
        ("delete u @1500", Some(4_000)),
        ("resume t @3500", Some(4_000)),
        ("complete t @3999", Some(4_000)),
        ("tick @4000", None),
        ("switch s @4000", None),
    ];
    for (command, due) in table {
        stage.run(command);
        assert_eq!(next(&stage), due, "{command}");
    }
}
