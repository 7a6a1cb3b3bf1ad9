//! Faults as charts and pages show them.

use std::{collections::BTreeSet, fmt::Write};

use super::numbers;
use crate::{
    nemesis::{FaultOutcome, FaultRecord, Trouble},
    test::run::Run,
};

/// A fault that was installed, or may have been.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Band {
    pub(crate) id: u64,
    pub(crate) trouble: Trouble,
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    /// `kill leader n1`.
    pub(crate) name: String,
    /// Everything on a few lines.
    pub(crate) title: String,
    /// Was it seen to bite?
    pub(crate) bit: bool,
    pub(crate) hit_leader: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bands {
    /// In the order of their beginnings.
    pub(crate) all: Vec<Band>,
}

impl Bands {
    pub(crate) fn of(run: &Run) -> Self {
        let mut all: Vec<Band> =
            run.faults.iter().filter(|fault| was_installed(&fault.outcome)).map(band).collect();
        all.sort_by_key(|band| band.from_ns);
        Self { all }
    }

    pub(crate) fn families(&self) -> BTreeSet<Trouble> {
        self.all.iter().map(|band| band.trouble).collect()
    }
}

const fn was_installed(outcome: &FaultOutcome) -> bool {
    match outcome {
        FaultOutcome::Skipped(_) => false,
        FaultOutcome::Bit | FaultOutcome::Unseen(_) | FaultOutcome::Indeterminate(_) => true,
    }
}

fn band(fault: &FaultRecord) -> Band {
    let planned = &fault.planned;
    let name = format!("{} {} {}", planned.trouble.as_str(), planned.form, fault.nodes.join(" "));
    let leader = if fault.hit_leader { ", the leader among them" } else { "" };
    let title = format!(
        "{name}{leader}\n{} s to {} s\n{}",
        numbers::seconds(fault.began_ns),
        numbers::seconds(fault.ended_ns),
        outcome(&fault.outcome)
    );
    Band {
        id: planned.id,
        trouble: planned.trouble,
        from_ns: fault.began_ns,
        to_ns: fault.ended_ns.max(fault.began_ns),
        name: name.trim_end().to_owned(),
        title,
        bit: fault.outcome == FaultOutcome::Bit,
        hit_leader: fault.hit_leader,
    }
}

/// In words.
pub(crate) fn outcome(outcome: &FaultOutcome) -> String {
    match outcome {
        FaultOutcome::Bit => String::from("it bit"),
        FaultOutcome::Unseen(why) => format!("not seen to bite: {why}"),
        FaultOutcome::Skipped(why) => format!("skipped: {why}"),
        FaultOutcome::Indeterminate(why) => format!("nobody knows: {why}"),
    }
}

/// Processes are red, networks purple, clocks teal, disks brown, Raft green, load grey.
pub(crate) const fn colour(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Kill => "#d8344a",
        Trouble::Stop => "#e8697a",
        Trouble::Pause => "#e0813d",
        Trouble::RollingRestart => "#b8324f",
        Trouble::Upgrade => "#f0939c",
        Trouble::Partition => "#8448c4",
        Trouble::Packet => "#b46bd8",
        Trouble::ClientPartition => "#5f5fd0",
        Trouble::Clock => "#12919a",
        Trouble::Drift => "#4fb8b0",
        Trouble::Power => "#8a5a1c",
        Trouble::LyingDisk => "#a8741f",
        Trouble::DiskError => "#bf8a3a",
        Trouble::DiskFull => "#c9a227",
        Trouble::SlowDisk => "#a99a4a",
        Trouble::Corrupt => "#6f4a2a",
        Trouble::DataLoss => "#946b52",
        Trouble::Transfer => "#3f9a4d",
        Trouble::Membership => "#6fae3c",
        Trouble::Snapshot => "#2f7d5c",
        Trouble::Flood => "#6b7785",
        Trouble::Squeeze => "#8f9aa6",
    }
}

/// Style rules for the classes `f-kill` and so on.
pub(crate) fn style() -> String {
    let mut style = String::new();
    for trouble in Trouble::ALL {
        // Writing to a string does not fail.
        let _ = write!(style, ".f-{}{{fill:{}}}", trouble.as_str(), colour(trouble));
    }
    style
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::example::Example;

    #[test]
    fn what_was_not_installed_is_not_shown() {
        let mut example = Example::started();
        example.fault(Trouble::Pause, &["n1"], (500, 700));
        example.fault(Trouble::Kill, &["n2", "n3"], (300, 400));
        example.fault(Trouble::Kill, &["n2"], (800, 900)).outcome = FaultOutcome::skipped("no");
        let bands = Bands::of(&example.run());
        let names: Vec<&str> = bands.all.iter().map(|band| band.name.as_str()).collect();
        assert_eq!(names, ["kill plain n2 n3", "pause plain n1"]);
        assert!(bands.all[1].title.contains("leader"), "{}", bands.all[1].title);
        assert_eq!(bands.families().len(), 2);
    }

    #[test]
    fn every_family_has_a_colour_of_its_own() {
        let colours: BTreeSet<&str> = Trouble::ALL.map(colour).into();
        assert_eq!(colours.len(), Trouble::ALL.len());
    }
}
