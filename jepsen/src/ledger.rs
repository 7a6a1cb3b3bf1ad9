//! What was tested so far: a line for every test, and what they add up to.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    check::verdict::Validity,
    nemesis::{FaultOutcome, FaultRecord, Trouble},
    test::{
        plan::{DiskKind, EnvKind, Workload},
        run::Run,
    },
};

const SECOND_NS: u64 = 1_000_000_000;

/// A line of `ledger.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was judged.
    pub at: String,
    pub name: String,
    pub seed: u64,
    pub workload: Workload,
    pub env: EnvKind,
    pub disk: DiskKind,
    pub nodes: usize,
    /// How long clients worked.
    pub seconds: u64,
    pub ops: usize,
    /// Faults that were seen to bite, by family.
    pub bit: BTreeMap<String, u64>,
    /// Processes that SIGKILL ended because a test wanted that.
    pub kills: u64,
    /// Disks that lost their power.
    pub power_losses: u64,
    /// Kills and power losses of all nodes at once.
    pub all_at_once: u64,
    #[serde(rename = "valid?")]
    pub valid: Validity,
    /// The checkers that did not say valid.
    #[serde(default)]
    pub not_valid: Vec<String>,
}

impl Entry {
    pub fn of(run: &Run, valid: Validity, not_valid: Vec<String>) -> Self {
        let plan = &run.plan;
        let bitten = || run.faults.iter().filter(|fault| fault.outcome == FaultOutcome::Bit);
        let mut bit = BTreeMap::new();
        for fault in bitten() {
            *bit.entry(fault.planned.trouble.as_str()).or_default() += 1;
        }
        let power = || bitten().filter(|fault| fault.planned.trouble == Trouble::Power);
        let killed = |exit: &&crate::test::run::Exit| {
            exit.signal == Some(9) && exit.because == Trouble::Kill.as_str()
        };
        let begun = run.events.first().map_or(0, |event| event.time);
        let seconds = run.ending.quiet_ns.saturating_sub(begun) / SECOND_NS;
        Self {
            at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            name: plan.name.clone(),
            seed: plan.seed,
            workload: plan.workload,
            env: plan.env,
            disk: plan.disk,
            nodes: plan.nodes,
            seconds: seconds.min(plan.time_limit_s),
            ops: run.ops.len(),
            bit,
            kills: count(run.ending.exits.iter().filter(killed).count()),
            power_losses: power().map(|fault| count(fault.nodes.len())).sum(),
            all_at_once: count(bitten().filter(|fault| is_of_all(fault, plan.nodes)).count()),
            valid,
            not_valid,
        }
    }

    /// Appends the line to the ledger; several runners may do so at once.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn append(&self, ledger: &Path) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        OpenOptions::new().create(true).append(true).open(ledger)?.write_all(&line)
    }
}

fn is_of_all(fault: &FaultRecord, nodes: usize) -> bool {
    matches!(fault.planned.trouble, Trouble::Kill | Trouble::Power) && fault.nodes.len() == nodes
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// # Errors
/// Where it is no ledger.
pub fn read(ledger: &Path) -> io::Result<Vec<Entry>> {
    let lines = BufReader::new(File::open(ledger)?).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// What many tests add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub tests: u64,
    pub seconds: u64,
    pub ops: usize,
    pub bit: BTreeMap<String, u64>,
    pub kills: u64,
    pub power_losses: u64,
    pub all_at_once: u64,
    pub invalid: u64,
    pub unknown: u64,
}

impl Totals {
    /// A test that is not valid adds to nothing but the number of those.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut totals = Self::default();
        for entry in entries {
            totals.tests += 1;
            match entry.valid {
                Validity::Invalid => {
                    totals.invalid += 1;
                    continue;
                }
                Validity::Unknown => {
                    totals.unknown += 1;
                    continue;
                }
                Validity::Valid => {}
            }
            totals.seconds += entry.seconds;
            totals.ops += entry.ops;
            for (family, number) in &entry.bit {
                *totals.bit.entry(family.clone()).or_default() += number;
            }
            totals.kills += entry.kills;
            totals.power_losses += entry.power_losses;
            totals.all_at_once += entry.all_at_once;
        }
        totals
    }

    pub fn faults(&self) -> u64 {
        self.bit.values().sum()
    }

    /// Name, what there is, and what a release needs.
    pub fn against_goals(&self) -> [(&'static str, u64, u64); 5] {
        [
            ("minutes of valid tests", self.seconds / 60, 240),
            ("faults that bit", self.faults(), 1_000),
            ("processes killed", self.kills, 200),
            ("disks that lost power", self.power_losses, 50),
            ("all nodes at once", self.all_at_once, 10),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example::Example;

    fn entry(valid: Validity) -> Entry {
        let mut example = Example::started();
        example.fault(Trouble::Kill, &["n1", "n2", "n3"], (300, 400));
        example.fault(Trouble::Power, &["n1", "n2"], (500, 600));
        example.fault(Trouble::Pause, &["n1", "n2", "n3"], (700, 800)).outcome =
            FaultOutcome::Unseen(String::from("nothing was seen"));
        for node in ["n1", "n2", "n3"] {
            example.exit(node, 300, "kill");
        }
        example.exit("n1", 500, "power");
        example.end(60_000);
        Entry::of(&example.run(), valid, Vec::new())
    }

    #[test]
    fn a_ledger_adds_up_what_was_seen_and_valid() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger.jsonl");
        for valid in [Validity::Valid, Validity::Unknown, Validity::Valid, Validity::Invalid] {
            entry(valid).append(&ledger).unwrap();
        }
        let totals = Totals::of(&read(&ledger).unwrap());
        assert_eq!((totals.tests, totals.invalid, totals.unknown), (4, 1, 1));
        assert_eq!((totals.kills, totals.power_losses, totals.all_at_once), (6, 4, 2));
        assert_eq!((totals.faults(), totals.seconds), (4, 20));
    }
}
