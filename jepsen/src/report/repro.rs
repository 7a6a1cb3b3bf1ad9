//! How to run a test again: `repro.sh`.

use super::escape::shell;
use crate::test::plan::Plan;

pub(super) fn script(plan: &Plan) -> String {
    let option = |name: &str, value: serde_json::Result<serde_json::Value>| {
        let value = value.ok().and_then(|value| value.as_str().map(str::to_owned));
        value.map(|value| format!(" --{name} {}", shell(&value))).unwrap_or_default()
    };
    let env = option("env", serde_json::to_value(plan.env));
    let disk = option("disk", serde_json::to_value(plan.disk));
    let comment = |text: String| text.replace(char::is_control, " ");
    let name = comment(format!("# Runs {} with seed {} again.", plan.name, plan.seed));
    let bin = comment(format!("# The program under test was {}.", plan.bin.display()));
    let plant =
        plan.plant.as_ref().map(|plant| format!("# It was asked to have this defect: {plant}."));
    let plant = plant.map(|line| comment(line) + "\n").unwrap_or_default();
    format!(
        "#!/bin/sh\n\
         {name}\n\
         #\n\
         # The same: what clients do, the order in which they draw it, and which faults begin when, all\n\
         # from the seed and from test.json beside this script.\n\
         # Different: how operations of several processes and faults fall together in time, who leads,\n\
         # and so which node a fault hits that is aimed at the leader; everything of the network, the\n\
         # disks and the scheduler that the plan does not break. An anomaly that depends on any of it\n\
         # may need several runs.\n\
         #\n\
         {bin}\n\
         {plant}\
         # If that is another build now, the test is another one.\n\
         #\n\
         # Run it within the workspace. More options are handed on, such as --store DIR.\n\
         set -eu\n\
         here=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd)\n\
         exec cargo run -p synckairos-jepsen -- test --plan \"$here/test.json\"{env}{disk} \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::example::Example,
        test::plan::{DiskKind, EnvKind},
    };

    #[test]
    fn names_cannot_leave_their_comment() {
        let mut plan = Example::new().run().plan;
        plan.name = String::from("a\nrm -rf /\r");
        plan.plant = Some(String::from("b\nc"));
        (plan.env, plan.disk) = (EnvKind::Netns, DiskKind::LoopExt4);
        let script = script(&plan);
        let commands: Vec<&str> = script.lines().filter(|line| !line.starts_with('#')).collect();
        let run = "exec cargo run -p synckairos-jepsen -- test --plan \"$here/test.json\" --env netns \
                   --disk loop-ext4 \"$@\"";
        assert_eq!(commands.len(), 3, "{script}");
        assert_eq!((commands[0], commands[2]), ("set -eu", run));
    }
}
