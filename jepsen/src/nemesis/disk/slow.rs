//! Disks that take their time, and one that hangs.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::tracer;
use crate::{
    db::{
        node::Node,
        process::{self, Process},
    },
    nemesis::{Active, FaultOutcome, Form, Planned, Target},
};

const HANGS: &str = "hangs";

pub(super) const FORMS: &[Form] = &[
    Form { word: "slow-sync", targets: &[Target::Followers, Target::One], for_ms: (1_500, 6_000) },
    Form { word: HANGS, targets: &[Target::One, Target::Leader], for_ms: (1_000, 5_000) },
    Form { word: "slow-sync", targets: &[Target::Leader], for_ms: (1_500, 6_000) },
];

const COMMAND_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn begin(
    planned: &Planned,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    if planned.form == HANGS {
        if !node.storage.has_power() {
            return Err(FaultOutcome::skipped(
                "a disk hangs with --disk loop-ext4 or loop-xfs only",
            ));
        }
        let mount = node.storage.mounted_at();
        // Whatever happens to this process: nobody can kill who writes to a frozen disk.
        let watchdog = thaw_after(mount, planned.for_ms / 1_000 + 3);
        active.helpers.push(watchdog.map_err(FaultOutcome::indeterminate)?);
        freeze("-f", mount).await.map_err(FaultOutcome::indeterminate)?;
        active.note("frozen", json!(true));
        return Ok(());
    }
    let delay_ms = ChaCha8Rng::seed_from_u64(planned.pick).random_range(20..=300_u64);
    let tracer = tracer::attach(node, &format!("delay_enter={}", delay_ms * 1_000)).await;
    active.helpers.push(tracer.map_err(|error| FaultOutcome::skipped(error.to_string()))?);
    active.note("delay_ms", json!(delay_ms));
    Ok(())
}

pub(super) async fn end(node: &Node, active: &mut Active) -> io::Result<FaultOutcome> {
    if active.evidence.contains_key("frozen") {
        freeze("-u", node.storage.mounted_at()).await?;
        active.helpers.clear();
        return Ok(FaultOutcome::Bit);
    }
    active.helpers.clear();
    let slow = tracer::spoiled(node);
    active.note("slow_syncs", json!(slow));
    Ok(FaultOutcome::seen(0 < slow, "the node synced nothing meanwhile"))
}

async fn freeze(how: &str, mount: &Path) -> io::Result<()> {
    let mut command = Command::new("fsfreeze");
    command.arg(how).arg(mount);
    process::run(command, COMMAND_WITHIN).await.map(|_| ())
}

fn thaw_after(mount: &Path, seconds: u64) -> io::Result<Process> {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep \"$1\"; exec fsfreeze -u \"$2\"", "thaw", &seconds.to_string()]);
    command.arg(mount).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process::start(command)
}
