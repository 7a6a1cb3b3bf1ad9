//! Retention: a sweep removes what waits for nobody, and nothing else.

use super::script::Stage;

/// One session in each phase, all of which last changed at 1000, and `f` that expired at 2000.
fn every_phase() -> Stage {
    let mut stage = Stage::default();
    for line in [
        "create a per_participant p=5000 @1000",
        "create b global p=5000 @1000",
        "start b @1000",
        "create c global p=5000 @1000",
        "start c @1000",
        "pause c @1000",
        "create d global p=5000 @1000",
        "complete d @1000",
        "create f global p=5000 total=1000 @1000",
        "start f @1000",
        "tick @3000",
    ] {
        stage.run(line);
    }
    stage
}

#[test]
fn a_sweep_removes_what_was_idle_before_then() {
    let (a, d, f) = ("a deleted @9000 (auto)", "d deleted @9000 (auto)", "f deleted @9000 (auto)");
    let table: [(&str, &[&str]); 8] = [
        ("sweep before=1000 @9000", &["0 done"]),
        ("sweep before=1001 @9000", &[a, d, "2 done"]),
        ("sweep before=2000 @9000", &[a, d, "2 done"]),
        ("sweep before=2001 @9000", &[a, d, f, "3 done"]),
        ("sweep before=9999 @9000", &[a, d, f, "3 done"]),
        ("sweep before=2001 max=0 @9000", &["0 done, more waiting"]),
        ("sweep before=2001 max=2 @9000", &[a, d, "2 done, more waiting"]),
        ("sweep before=2000 max=2 @9000", &[a, d, "2 done"]),
    ];
    for (sweep, told) in table {
        assert_eq!(every_phase().run(sweep), told, "{sweep}");
    }
}

#[test]
fn what_can_still_run_never_vanishes() {
    let mut stage = every_phase();
    stage.run("sweep before=999999999 @1000000000");
    assert_eq!(
        stage.describe_all().collect::<Vec<_>>(),
        ["b:2 running p@1000 due 11000 | p 5000 +0 x0", "c:3 paused p | p 5000 +0 x0"]
    );
}

#[test]
fn whoever_changes_is_not_idle() {
    let mut stage = every_phase();
    assert_eq!(stage.machine.longest_idle().unwrap().unix_millis(), 1_000);
    stage.run("start a @5000");
    stage.run("complete d @5000");
    assert_eq!(stage.machine.longest_idle().unwrap().unix_millis(), 2_000);
    assert_eq!(stage.run("sweep before=2001 @9000"), ["f deleted @9000 (auto)", "1 done"]);
    stage.run("complete a @9000");
    assert_eq!(stage.machine.longest_idle().unwrap().unix_millis(), 5_000);
}
