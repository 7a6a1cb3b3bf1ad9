//! When faults were there.

use crate::{
    nemesis::{FaultOutcome, FaultRecord, Trouble},
    test::run::Run,
};

/// Faults that were installed, or may have been.
pub(crate) fn installed(run: &Run) -> impl Iterator<Item = &FaultRecord> {
    run.faults.iter().filter(|fault| is_installed(fault))
}

pub(crate) const fn is_installed(fault: &FaultRecord) -> bool {
    match fault.outcome {
        FaultOutcome::Skipped(_) => false,
        FaultOutcome::Bit | FaultOutcome::Unseen(_) | FaultOutcome::Indeterminate(_) => true,
    }
}

/// Was the fault there at some time from `from_ns` to `to_ns`, or within `margin_ns` of it?
pub(crate) const fn touches(
    fault: &FaultRecord,
    (from_ns, to_ns): (u64, u64),
    margin_ns: u64,
) -> bool {
    fault.began_ns <= to_ns.saturating_add(margin_ns)
        && from_ns <= fault.ended_ns.saturating_add(margin_ns)
}

/// Does it set clocks wrong, and nothing else?
pub(crate) const fn is_of_clocks(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Clock | Trouble::Drift)
}

/// Does it end processes, or can it?
pub(crate) const fn ends_processes(trouble: Trouble) -> bool {
    match trouble {
        Trouble::Kill
        | Trouble::Stop
        | Trouble::Power
        | Trouble::LyingDisk
        | Trouble::DiskError
        | Trouble::DiskFull
        | Trouble::Corrupt
        | Trouble::DataLoss
        | Trouble::Membership
        | Trouble::RollingRestart
        | Trouble::Upgrade => true,
        Trouble::Pause
        | Trouble::Partition
        | Trouble::Packet
        | Trouble::ClientPartition
        | Trouble::Clock
        | Trouble::Drift
        | Trouble::SlowDisk
        | Trouble::Transfer
        | Trouble::Snapshot
        | Trouble::Flood
        | Trouble::Squeeze => false,
    }
}

/// The word of `--nemesis`.
pub(crate) fn name(trouble: Trouble) -> String {
    let word = serde_json::to_value(trouble).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}
