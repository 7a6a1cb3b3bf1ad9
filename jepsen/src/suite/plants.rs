//! The defects that the product can be asked to have, and what has to find each of them.
//!
//! `synckairos-planted` is the product with the defect that `SYNCKAIROS_PLANT` names. A suite that
//! does not find them proves nothing by finding nothing.

use crate::{
    check::CHECKERS,
    nemesis::Trouble,
    test::plan::{DiskKind, Workload},
};

/// A test that must end invalid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlantCase {
    /// As `SYNCKAIROS_PLANT` takes it.
    pub id: &'static str,
    /// What the product then does wrong.
    pub what: &'static str,
    pub workload: Workload,
    pub nemesis: &'static [Trouble],
    /// The checkers that are there for this: one of them has to say so.
    pub expected: &'static [&'static str],
    /// How long clients work; the defect must show within it.
    pub seconds: u64,
    /// Mean time from one fault to the next, in seconds.
    pub interval_s: f64,
    /// Operations in a second, of all clients.
    pub rate: f64,
    pub disk: DiskKind,
}

impl PlantCase {
    /// Is one of its checkers there, and can its faults be injected?
    pub fn can_be_judged(&self) -> bool {
        let there = |name: &&str| CHECKERS.iter().any(|(checker, _)| checker == name);
        self.expected.iter().any(there)
            && self.nemesis.iter().all(|trouble| !trouble.forms().is_empty())
    }
}

/// What most of them have in common.
const CASE: PlantCase = PlantCase {
    id: "",
    what: "",
    workload: Workload::Register,
    nemesis: &[],
    expected: &[],
    seconds: 60,
    interval_s: 6.0,
    rate: 100.0,
    disk: DiskKind::Plain,
};

/// In the order of `protocol/src/plant.rs`.
pub const PLANTS: &[PlantCase] = &[
    PlantCase {
        id: "ack-before-commit",
        what: "A leader that has waited 10 ms for a majority answers a write all the same.",
        nemesis: &[Trouble::Partition],
        expected: &["durability", "linear", "replay"],
        ..CASE
    },
    PlantCase {
        id: "skip-fsync",
        what: "The log is written and not synced.",
        nemesis: &[Trouble::Power],
        expected: &["durability", "linear", "logs"],
        seconds: 90,
        disk: DiskKind::LoopExt4,
        ..CASE
    },
    PlantCase {
        id: "stale-leader-reads",
        what: "Who believes to lead answers reads without asking a majority.",
        nemesis: &[Trouble::Partition],
        rate: 200.0,
        expected: &["linear"],
        ..CASE
    },
    PlantCase {
        id: "follower-reads-local",
        what: "A follower answers reads from what it has applied.",
        expected: &["linear"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "retry-applied-twice",
        what: "Another leader than the one that answered a key takes it for a new one.",
        workload: Workload::Retries,
        nemesis: &[Trouble::Kill, Trouble::Transfer],
        expected: &["idempotency"],
        ..CASE
    },
    PlantCase {
        id: "retry-answered-anew",
        what: "A repeat is told what the session is now, instead of what was answered first.",
        workload: Workload::Retries,
        nemesis: &[Trouble::Kill],
        expected: &["idempotency"],
        ..CASE
    },
    PlantCase {
        id: "snapshot-forgets-key",
        what: "Every seventh answer to a key is left out of a snapshot.",
        workload: Workload::Retries,
        nemesis: &[Trouble::Snapshot],
        expected: &["idempotency", "converge", "replay"],
        seconds: 90,
        ..CASE
    },
    PlantCase {
        id: "snapshot-loses-session",
        what: "The first session is left out of a snapshot.",
        nemesis: &[Trouble::Snapshot],
        expected: &["converge", "linear", "lists"],
        seconds: 90,
        ..CASE
    },
    PlantCase {
        id: "resume-drops-update",
        what: "The last update that a client missed is not told when it resumes.",
        workload: Workload::Stream,
        nemesis: &[Trouble::Kill],
        expected: &["stream"],
        ..CASE
    },
    PlantCase {
        id: "resume-repeats-update",
        what: "The last update that a client missed is told twice when it resumes.",
        workload: Workload::Stream,
        nemesis: &[Trouble::Kill],
        expected: &["stream"],
        ..CASE
    },
    PlantCase {
        id: "resume-tells-latest-state",
        what: "Who resumes is told the latest state under the versions that it missed.",
        workload: Workload::Stream,
        nemesis: &[Trouble::Kill],
        expected: &["stream", "replay", "converge"],
        ..CASE
    },
    PlantCase {
        id: "update-not-pushed",
        what: "One update in 29 does not reach a subscriber.",
        workload: Workload::Stream,
        expected: &["stream"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "stale-pretends-live",
        what: "A node that is cut off does not say so to its subscribers.",
        workload: Workload::Stream,
        nemesis: &[Trouble::Partition],
        expected: &["stream", "availability"],
        seconds: 90,
        ..CASE
    },
    PlantCase {
        id: "stamp-from-wall-clock",
        what: "A leader stamps with its wall clock.",
        workload: Workload::Turns,
        nemesis: &[Trouble::Clock],
        expected: &["clock"],
        ..CASE
    },
    PlantCase {
        id: "time-goes-back-at-election",
        what: "A new leader counts from its wall clock, whatever time it was told.",
        workload: Workload::Turns,
        nemesis: &[Trouble::Clock, Trouble::Kill],
        expected: &["clock"],
        seconds: 90,
        ..CASE
    },
    PlantCase {
        id: "expired-wins-at-the-millisecond",
        what: "A switch stamped in the millisecond of the deadline wins.",
        workload: Workload::Expiry,
        expected: &["replay", "clock"],
        ..CASE
    },
    PlantCase {
        id: "early-expiry",
        what: "Clocks run out 40 ms before they are due.",
        workload: Workload::Expiry,
        expected: &["replay", "clock"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "expiry-at-notice",
        what: "A clock runs out when that is noticed, instead of when it was due.",
        workload: Workload::Expiry,
        expected: &["replay", "clock"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "missed-alarm",
        what: "A clock that fell due while nobody led never runs out, nor does any later one.",
        workload: Workload::Expiry,
        nemesis: &[Trouble::Kill],
        expected: &["clock", "replay", "availability"],
        ..CASE
    },
    PlantCase {
        id: "version-goes-back-after-restart",
        what: "The session that changed last comes back from a restart one version older.",
        nemesis: &[Trouble::Kill],
        expected: &["linear", "converge", "stream", "replay"],
        ..CASE
    },
    PlantCase {
        id: "divergent-apply",
        what: "Entries that are applied together are all applied at the time of the last one.",
        workload: Workload::Turns,
        nemesis: &[Trouble::Pause, Trouble::Kill],
        expected: &["converge", "replay", "stream"],
        ..CASE
    },
    PlantCase {
        id: "wrong-groups-bank",
        what: "per_group charges the next group's bank.",
        workload: Workload::Turns,
        expected: &["replay"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "increment-after-expiry",
        what: "Who is out of time still gets the increment.",
        workload: Workload::Expiry,
        expected: &["replay"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "pause-charges-nothing",
        what: "The stretch before a pause is not charged.",
        workload: Workload::Turns,
        expected: &["replay", "clock"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "outage-credited-twice",
        what: "An outage is credited twice to the clocks that freeze.",
        workload: Workload::Turns,
        nemesis: &[Trouble::Kill],
        expected: &["replay", "clock"],
        ..CASE
    },
    PlantCase {
        id: "cas-lost",
        what: "An expected_version from the past is good enough.",
        expected: &["linear", "replay"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "lost-conflict",
        what: "Two commands that overlap, and name no version, both take effect.",
        expected: &["effects", "linear", "replay"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "batch-half-applied",
        what: "A batch that is refused keeps what it did before.",
        workload: Workload::Batch,
        expected: &["effects", "replay"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "list-omits-one",
        what: "A list leaves out the first session of each page but the first.",
        workload: Workload::Churn,
        expected: &["lists"],
        seconds: 30,
        ..CASE
    },
    PlantCase {
        id: "effect-none-lie",
        what: "A write whose fate is unknown is answered as one without effect.",
        // On slow links something is under way when a leader is lost, and on those that lead one
        // way only the answer is.
        nemesis: &[Trouble::Packet, Trouble::Kill, Trouble::Partition],
        expected: &["effects", "linear"],
        seconds: 90,
        interval_s: 3.0,
        rate: 200.0,
        ..CASE
    },
    PlantCase {
        id: "unknown-sent-again",
        what: "A write whose fate is unknown is sent again.",
        // Many sessions, since an open operation may explain what is wrong with its own; and slow
        // links, so that something is under way when a leader is lost.
        workload: Workload::Stream,
        nemesis: &[Trouble::Kill, Trouble::Packet],
        expected: &["effects", "linear", "replay"],
        seconds: 90,
        interval_s: 3.0,
        ..CASE
    },
    PlantCase {
        id: "panic-at-lost-leader",
        what: "A request whose leader is lost ends in a panic.",
        nemesis: &[Trouble::Kill, Trouble::Partition],
        expected: &["logs"],
        ..CASE
    },
];

/// The case of this defect.
pub fn find(id: &str) -> Option<&'static PlantCase> {
    PLANTS.iter().find(|case| case.id == id)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The ids in the product, which this crate shares no code with: `Name = "id",`.
    fn ids_of_the_product() -> Vec<String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/src/plant.rs");
        let text = fs::read_to_string(source).unwrap();
        let (_, table) = text.split_once("\nplants! {\n").unwrap();
        let (table, _) = table.split_once("\n}\n").unwrap();
        let lines = table.lines().filter_map(|line| line.split_once(" = \""));
        lines.map(|(_, rest)| rest.strip_suffix("\",").unwrap().to_owned()).collect()
    }

    #[test]
    fn every_defect_of_the_product_has_its_case() {
        let ids: Vec<&str> = PLANTS.iter().map(|case| case.id).collect();
        assert_eq!(ids, ids_of_the_product());
        assert!(24 <= ids.len());
        assert!(ids.iter().all(|id| find(id).is_some_and(|case| case.id == *id)));
    }

    #[test]
    fn many_cases_can_be_run_and_judged() {
        assert!(12 <= PLANTS.iter().filter(|case| case.can_be_judged()).count());
        for PlantCase { id, what, expected, seconds, nemesis, disk, .. } in PLANTS {
            assert!(what.ends_with('.'), "{id}");
            assert!((10..=300).contains(seconds), "{id}");
            assert!(!expected.is_empty(), "{id}");
            let cut = nemesis.contains(&Trouble::Power);
            assert_eq!(cut, *disk != DiskKind::Plain, "{id}: power is cut where it can be");
        }
    }
}
