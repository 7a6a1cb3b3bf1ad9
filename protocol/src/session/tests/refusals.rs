//! What is refused in which phase, in v2's words, and that a refusal changes nothing.

use super::{check, script::Stage};

const GIVEN: &str = "create s per_participant a=5000 b=5000 timeout=end @0";
const RUNNING: &str = "start s @1000";
const PAUSED: &str = "start s @1000, pause s @2000";
const EXPIRED: &str = "start s @1000, tick @6000";
const COMPLETED: &str = "start s @1000, complete s @2000";

#[test]
fn a_status_allows_what_v2_allows() {
    // Steps to the phase, command, and its refusal.
    let table = [
        ("", "switch s @7000", "Session s not running (current status: pending)"),
        ("", "pause s @7000", "Session s cannot be paused (current status: pending)"),
        ("", "resume s @7000", "Session s cannot be resumed (current status: pending)"),
        (RUNNING, "start s @1500", "Session s cannot be started (current status: running)"),
        (RUNNING, "resume s @1500", "Session s cannot be resumed (current status: running)"),
        (PAUSED, "start s @7000", "Session s cannot be started (current status: paused)"),
        (PAUSED, "switch s @7000", "Session s not running (current status: paused)"),
        (PAUSED, "pause s @7000", "Session s cannot be paused (current status: paused)"),
        (EXPIRED, "start s @7000", "Session s cannot be started (current status: expired)"),
        (EXPIRED, "pause s @7000", "Session s cannot be paused (current status: expired)"),
        (EXPIRED, "resume s @7000", "Session s cannot be resumed (current status: expired)"),
        (COMPLETED, "start s @7000", "Session s cannot be started (current status: completed)"),
        (COMPLETED, "switch s @7000", "Session s not running (current status: completed)"),
        (COMPLETED, "pause s @7000", "Session s cannot be paused (current status: completed)"),
        (COMPLETED, "resume s @7000", "Session s cannot be resumed (current status: completed)"),
    ];
    for (steps, command, message) in table {
        refused(steps, command, &format!("INVALID_SESSION_STATE: {message}"));
    }
    refused(
        EXPIRED,
        "switch s @7000",
        "PARTICIPANT_EXPIRED: Session s not running (current status: expired)",
    );
}

#[test]
fn complete_and_delete_are_allowed_from_every_phase() {
    for steps in ["", RUNNING, PAUSED, EXPIRED, COMPLETED] {
        let mut stage = staged(steps);
        assert!(stage.run("complete s @7000").last().unwrap().ends_with(" completed"), "{steps}");
        let mut stage = staged(steps);
        assert_eq!(stage.run("delete s @7000").last().unwrap(), "s deleted @7000", "{steps}");
        assert_eq!(stage.describe("s"), "gone");
    }
}

#[test]
fn nobody_switches_for_or_to_a_stranger() {
    let conflict = "CONCURRENT_MODIFICATION: Participant b is not active in session s";
    refused(RUNNING, "switch s from=b @2000", conflict);
    let stranger = "PARTICIPANT_NOT_FOUND: Participant z not found in session";
    refused(RUNNING, "switch s to=z @2000", stranger);
    refused(RUNNING, "switch s from=a to=z @2000", stranger);
    check(
        GIVEN,
        &[(
            "who is active may be named",
            "start s @1000, switch s from=a to=b @2000",
            "s:3 switched a>b",
            "s:3 running b@2000 due 7000 | a 4000 +1000 x1 | b 5000 +0 x0",
        )],
    );
}

#[test]
fn what_does_not_exist_is_not_found() {
    for verb in ["start", "switch", "pause", "resume", "complete"] {
        let told = Stage::default().run(&format!("{verb} s @1000"));
        assert_eq!(told, ["SESSION_NOT_FOUND: Session s not found"]);
    }
    assert_eq!(Stage::default().run("delete s @1000"), Vec::<String>::new());
}

#[test]
fn a_refused_command_keeps_what_time_did() {
    check(
        "create s per_participant a=5000 b=5000 warnings=2000 @0",
        &[
            (
                "a warning",
                "start s @1000, resume s @4500",
                "s:2 warned a of 2000 @4000; \
                 INVALID_SESSION_STATE: Session s cannot be resumed (current status: running)",
                "s:2 running a@1000 due 6000 | a 5000 +0 x0 | b 5000 +0 x0",
            ),
            (
                "an expiry",
                "start s @1000, switch s to=z @6500",
                "s:2 warned a of 2000 @4000; s:3 expired a@6000 (timeout); \
                 PARTICIPANT_NOT_FOUND: Participant z not found in session",
                "s:3 running a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
            (
                "a create of the same id",
                "start s @1000, create s global a=5000 @6500",
                "s:2 warned a of 2000 @4000; s:3 expired a@6000 (timeout); \
                 SESSION_EXISTS: Session s already exists",
                "s:3 running a@6000 | a 0 +5000 x0 !6000 | b 5000 +0 x0",
            ),
        ],
    );
}

fn staged(steps: &str) -> Stage {
    let mut stage = Stage::default();
    stage.run(GIVEN);
    for step in steps.split(", ").filter(|step| !step.is_empty()) {
        stage.run(step);
    }
    stage
}

fn refused(steps: &str, command: &str, refusal: &str) {
    let mut stage = staged(steps);
    let before = stage.describe("s");
    assert_eq!(stage.run(command), [refusal], "{steps}, {command}");
    assert_eq!(stage.describe("s"), before, "{steps}, {command}");
}
