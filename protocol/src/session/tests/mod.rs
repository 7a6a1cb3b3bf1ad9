//! Tests of the session, by subject.
//!
//! [`check`] stands between all tables and the machine; [`script`] says how to read them.

mod count_up;
mod create;
mod global;
mod per_cycle;
mod per_group;
mod per_participant;
mod refusals;
mod retention;
mod script;
mod timeouts;
mod transcripts;
mod versions;
mod warnings;

use script::Stage;

/// A case, its steps, what the last step makes known, and session `s` afterwards.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn check(given: &str, table: &[Row]) {
    for (case, steps, told, state) in table {
        let mut stage = Stage::default();
        let mut last = stage.run(given);
        for step in steps.split(", ") {
            last = stage.run(step);
        }
        assert_eq!(last.join("; "), *told, "{case}: what is told");
        assert_eq!(stage.describe("s"), *state, "{case}: the state afterwards");
    }
}
