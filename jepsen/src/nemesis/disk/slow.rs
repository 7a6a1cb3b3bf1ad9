//! Disks that take their time, and one that hangs.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use serde_json::json;

use super::tracer;
use crate::{
    db::{
        node::Node,
        process::{self, signal_process},
    },
    nemesis::{Active, FaultOutcome, Form, Planned, Target},
};

const HANGS: &str = "hangs";
const SLOW_SYNC: &str = "slow-sync";
/// A disk that others keep busy.
pub(crate) const THROTTLED: &str = "throttled";
const THROTTLED_MS: u64 = 100;
const FOLLOWER: &[Target] = &[Target::Followers, Target::One];

pub(super) const FORMS: &[Form] = &[
    Form { word: SLOW_SYNC, targets: FOLLOWER, for_ms: (1_500, 6_000) },
    Form { word: HANGS, targets: &[Target::One, Target::Leader], for_ms: (1_000, 5_000) },
    Form { word: SLOW_SYNC, targets: &[Target::Leader], for_ms: (1_500, 6_000) },
    Form { word: THROTTLED, targets: &[Target::Followers], for_ms: (1_500, 6_000) },
];

const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// How long after its end a hang is ended by the watchdog: freezing waits for what is written.
const WATCHDOG_MARGIN_S: u64 = 12;
const FROZEN: &str = "frozen";
const WATCHDOG: &str = "watchdog";

/// Nobody can kill who writes to a frozen disk. So it is thawed whatever becomes of this process,
/// of this fault, and of the terminal.
const THAW_LATER: &str = "(trap '' HUP INT TERM; sleep \"$1\"; exec fsfreeze -u \"$2\") \
                          </dev/null >/dev/null 2>&1 & echo $!";

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
        let seconds = planned.for_ms / 1_000 + WATCHDOG_MARGIN_S;
        let watchdog = thaw_after(mount, seconds).await.map_err(FaultOutcome::indeterminate)?;
        active.note(WATCHDOG, watchdog);
        freeze("-f", mount).await.map_err(FaultOutcome::indeterminate)?;
        active.note(FROZEN, true);
        return Ok(());
    }
    let delay_ms = if planned.form == THROTTLED {
        THROTTLED_MS
    } else {
        ChaCha8Rng::seed_from_u64(planned.pick).random_range(20..=300_u64)
    };
    let how = format!("delay_enter={}", delay_ms * 1_000);
    let spoil = tracer::Spoil { calls: tracer::SYNCS, how: &how, files: &[] };
    let tracer = tracer::attach(node, &spoil).await;
    active.helpers.push(tracer.map_err(|error| FaultOutcome::skipped(error.to_string()))?);
    active.note("delay_ms", delay_ms);
    Ok(())
}

pub(super) async fn end(node: &Node, active: &mut Active) -> io::Result<FaultOutcome> {
    if active.evidence.contains_key(FROZEN) {
        let hanging = node.pid().map_or(0, hanging_threads);
        active.note("hanging_threads", json!(hanging));
        thaw(node.storage.mounted_at(), active).await?;
        return Ok(FaultOutcome::seen(0 < hanging, "the node wrote nothing meanwhile"));
    }
    tracer::detach(&mut active.helpers).await;
    let slow = tracer::spoiled(node);
    active.note("slow_syncs", json!(slow));
    Ok(FaultOutcome::seen(0 < slow, "the node synced nothing meanwhile"))
}

/// The watchdog is let go only when the disk is seen to be thawed.
async fn thaw(mount: &Path, active: &mut Active) -> io::Result<()> {
    match freeze("-u", mount).await {
        Ok(()) => {}
        // The kernel's word for one that is not frozen: the watchdog was first.
        Err(error) if error.to_string().contains("Invalid argument") => {
            active.note("thawed_by_watchdog", true);
        }
        Err(error) => return Err(error),
    }
    let watchdog = active.evidence.remove(WATCHDOG).and_then(|pid| pid.as_u64());
    if let Some(pid) = watchdog.and_then(|pid| u32::try_from(pid).ok()) {
        signal_process(pid, Signal::KILL);
    }
    Ok(())
}

async fn freeze(how: &str, mount: &Path) -> io::Result<()> {
    let mut command = Command::new("fsfreeze");
    command.arg(how).arg(mount);
    process::run(command, COMMAND_WITHIN).await.map(|_| ())
}

/// The process that will do it.
async fn thaw_after(mount: &Path, seconds: u64) -> io::Result<u32> {
    let mut command = Command::new("sh");
    command.args(["-c", THAW_LATER, "thaw", &seconds.to_string()]).arg(mount);
    command.stdin(Stdio::null());
    let printed = process::run(command, COMMAND_WITHIN).await?;
    printed.trim().parse().map_err(io::Error::other)
}

/// Threads that wait in the kernel for something that cannot be interrupted.
fn hanging_threads(pid: u32) -> usize {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let stats =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    stats.filter(|stat| state_in(stat) == Some("D")).count()
}

/// `17 (a name) with anything) D 1 ...`
fn state_in(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_state_of_a_thread_comes_after_its_name() {
        assert_eq!(state_in("17 (log) D 1 17 17 0"), Some("D"));
        assert_eq!(state_in("17 (a) S (b) R 1 17"), Some("R"));
        assert_eq!(state_in(""), None);
        // One that waits for its input: this process has threads, in other tests, that wait for a
        // disk. An answer shows that it has started.
        let mut waiting =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        waiting.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        waiting.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        assert_eq!(hanging_threads(waiting.id()), 0);
        waiting.kill().unwrap();
        waiting.wait().unwrap();
    }
}
