//! Which tests make up a suite.

use clap::ValueEnum;

use crate::{
    nemesis::Trouble,
    test::plan::{DiskKind, EnvKind, Workload},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Under three minutes, for every change
    Smoke,
    /// Twenty minutes, for everybody who has doubts
    Standard,
    /// Every workload with everything that can be broken, for as long as one likes
    Release,
}

/// One test of a suite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub workload: Workload,
    pub nemesis: &'static [Trouble],
    pub seconds: u64,
    /// Mean time from one fault to the next, in seconds.
    pub interval_s: f64,
    pub rate: f64,
    pub nodes: usize,
    pub env: EnvKind,
    pub disk: DiskKind,
}

/// What this machine lets a runner do, and what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Powers {
    /// Network namespaces of its own.
    pub namespaces: bool,
    /// Loop mounts whose power can be cut.
    pub loops: bool,
    /// A tmpfs of its own.
    pub tmpfs: bool,
    /// Tracers of its own processes.
    pub tracers: bool,
    /// A library that makes a disk lie.
    pub liars: bool,
    /// The version before, to be upgraded from.
    pub older: bool,
}

use Trouble::{
    ClientPartition, Clock, Corrupt, DataLoss, DiskError, DiskFull, Drift, Flood, Kill, LyingDisk,
    Membership, Packet, Partition, Pause, Power, RollingRestart, SlowDisk, Snapshot, Squeeze, Stop,
    Transfer, Upgrade,
};

const fn case(workload: Workload, nemesis: &'static [Trouble], seconds: u64) -> Case {
    Case {
        workload,
        nemesis,
        seconds,
        interval_s: 6.0,
        rate: 80.0,
        nodes: 3,
        env: EnvKind::Loopback,
        disk: DiskKind::Plain,
    }
}

impl Case {
    const fn every(self, interval_s: f64) -> Self {
        Self { interval_s, ..self }
    }

    const fn nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    const fn env(self, env: EnvKind) -> Self {
        Self { env, ..self }
    }

    const fn disk(self, disk: DiskKind) -> Self {
        Self { disk, ..self }
    }

    /// Why this machine cannot run it.
    pub fn impossible(&self, powers: Powers) -> Option<&'static str> {
        if self.nemesis.contains(&Upgrade) && !powers.older {
            return Some("no older program was given: --bin-old");
        }
        let traces = |trouble: &Trouble| matches!(trouble, DiskError | SlowDisk);
        if self.nemesis.iter().any(traces) && !powers.tracers {
            return Some("failing and slow syncs need strace, and the right to trace");
        }
        if self.nemesis.contains(&LyingDisk) && !powers.liars {
            return Some("disks that lie need eatmydata");
        }
        match (self.env, self.disk) {
            (EnvKind::Netns, _) if !powers.namespaces => {
                Some("network namespaces need root or user namespaces")
            }
            (_, DiskKind::LoopExt4 | DiskKind::LoopXfs) if !powers.loops => {
                Some("loop mounts need root")
            }
            (_, DiskKind::Tmpfs) if !powers.tmpfs => Some("mounts need root or user namespaces"),
            (_, _) => None,
        }
    }
}

const SMOKE: &[Case] = &[
    case(Workload::Soak, &[Kill, Partition, Pause], 45).every(5.0),
    case(Workload::Stream, &[Partition, Kill, Transfer, Clock], 40).every(5.0),
];

const STANDARD: &[Case] = &[
    case(Workload::Register, &[Kill, Pause, Partition], 60),
    case(Workload::Register, &[Partition, Packet], 60).env(EnvKind::Netns),
    case(Workload::Turns, &[Clock, Drift, Flood], 60),
    case(Workload::Expiry, &[Pause, Partition, Transfer, Squeeze], 60),
    case(Workload::Retries, &[Kill, ClientPartition, Packet], 60),
    case(Workload::Stream, &[Kill, Partition, Snapshot], 60),
    case(Workload::Batch, &[Power, Transfer], 60).disk(DiskKind::LoopExt4),
    case(Workload::Churn, &[Stop, Pause, RollingRestart], 60),
    case(Workload::Client, &[Kill, ClientPartition, Membership], 60),
    case(Workload::Register, &[Power, Kill], 60).disk(DiskKind::LoopXfs),
    case(Workload::Soak, &[Kill, Pause, Partition, Transfer], 60).nodes(5),
    case(Workload::Stream, &[Corrupt, DataLoss], 80),
    case(Workload::Register, &[DiskError, SlowDisk], 60),
    case(Workload::Soak, &[LyingDisk, DiskFull], 60).disk(DiskKind::LoopExt4),
    case(Workload::Register, &[Upgrade], 60),
];

const RELEASE: &[Case] = &[
    case(Workload::Soak, &[Kill, Pause, Partition, Packet, Transfer], 600).every(4.0),
    case(Workload::Register, &[Power, Kill, Pause], 600).every(4.0).disk(DiskKind::LoopExt4),
    case(Workload::Stream, &[Kill, Partition, Pause, Snapshot], 600).every(4.0),
    case(Workload::Expiry, &[Pause, Transfer, Clock, Drift], 420).every(4.0),
    case(Workload::Batch, &[Power, Partition, Transfer], 600).every(4.0).disk(DiskKind::LoopXfs),
    case(Workload::Retries, &[Kill, ClientPartition, Packet, Partition], 420).every(4.0),
    case(Workload::Soak, &[Partition, Packet, Kill, Pause], 600).every(4.0).env(EnvKind::Netns),
    case(Workload::Turns, &[Clock, Drift, Pause], 420).every(4.0),
    case(Workload::Register, &[Upgrade], 120),
    case(Workload::Soak, &[Corrupt, DataLoss, Kill], 600).every(4.0),
    case(Workload::Register, &[DiskError, SlowDisk, Pause], 420)
        .every(4.0)
        .disk(DiskKind::LoopExt4),
    case(Workload::Batch, &[LyingDisk, DiskFull, SlowDisk], 420).every(4.0).disk(DiskKind::LoopXfs),
    case(Workload::Soak, &[Membership, Kill, Partition, Pause], 600).every(5.0),
    case(Workload::Expiry, &[Squeeze, Flood, Kill, Transfer], 420).every(5.0),
    case(Workload::Client, &[Kill, ClientPartition, Transfer, Membership], 420).every(5.0),
    case(Workload::Churn, &[Stop, Snapshot, Pause, RollingRestart], 420).every(5.0),
    case(Workload::Soak, &[Kill, Pause, Partition, Transfer], 600).every(4.0).nodes(5),
];

impl Suite {
    pub const fn cases(self) -> &'static [Case] {
        match self {
            Self::Smoke => SMOKE,
            Self::Standard => STANDARD,
            Self::Release => RELEASE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Powers = Powers {
        namespaces: true,
        loops: true,
        tmpfs: true,
        tracers: true,
        liars: true,
        older: true,
    };
    const NOTHING: Powers = Powers {
        namespaces: false,
        loops: false,
        tmpfs: false,
        tracers: false,
        liars: false,
        older: false,
    };

    #[test]
    fn suites_keep_their_time_and_leave_nothing_out() {
        let seconds = |suite: Suite| suite.cases().iter().map(|case| case.seconds).sum::<u64>();
        assert!(seconds(Suite::Smoke) <= 120);
        assert!(seconds(Suite::Standard) <= 1_000);
        assert!(Suite::Release.cases().iter().all(|case| case.seconds <= 3_600));
        for trouble in Trouble::ALL {
            let known = !trouble.forms().is_empty();
            let somewhere =
                |suite: Suite| suite.cases().iter().any(|case| case.nemesis.contains(&trouble));
            assert_eq!(somewhere(Suite::Release), known, "{trouble:?}");
        }
        for workload in Workload::ALL {
            assert!(Suite::Standard.cases().iter().any(|case| case.workload == workload));
        }
    }

    #[test]
    fn a_machine_without_rights_runs_smoke_and_most_of_standard() {
        let possible = |suite: Suite, powers| {
            suite.cases().iter().filter(|case| case.impossible(powers).is_none()).count()
        };
        assert_eq!(possible(Suite::Smoke, NOTHING), Suite::Smoke.cases().len());
        assert!(8 <= possible(Suite::Standard, NOTHING));
        assert_eq!(possible(Suite::Standard, EVERYTHING), Suite::Standard.cases().len());
    }
}
