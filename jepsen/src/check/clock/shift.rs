//! When cluster time may go over from one node to another, what that may cost, and how fast it may
//! run meanwhile.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    check::{
        state::{MS, SECOND, signed},
        window,
    },
    nemesis::{FaultRecord, Target, Trouble},
    test::run::{Run, Sample},
};

/// A leader slews toward its wall clock by this much at most.
const SLEW_PPM: i64 = 500;
/// A clock that runs wrong by nobody knows how much.
const DRIFT_PPM: i64 = 50_000;
/// What a leader change may move cluster time by: how late a leader's word arrives.
const CHANGE_NS: i64 = 100 * MS;
/// The same while packets or processes are slow.
const CHANGE_SLOW_NS: i64 = 1_500 * MS;
/// For how long a follower counts on its own clock before it hears from the leader again, or leads.
const ESTIMATE_NS: i64 = 4_000 * MS;
/// Several elections between two looks may each cost something.
const CHANGES_MAX: i64 = 3;
const MARGIN_NS: u64 = 3 * SECOND;
/// Nodes are not all looked at in the same moment, and a leader is confirmed before it counts.
const LOOK_NS: u64 = SECOND;

/// A leader change: at some moment from `from_ns` to `to_ns` cluster time may move.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift {
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    /// How far ahead, and how far behind, it may be then: a leader's word that comes late tells its
    /// successor too early a time, and never too late a one.
    pub(super) by: (i64, i64),
    /// The new leader may have been told no time since its start: then it goes on from the last
    /// stamp or from its wall clock, whichever is later.
    pub(super) cold: Option<Cold>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cold {
    /// How far its wall clock may be from true, at least and at most: behind, which is negative,
    /// and ahead. `None` where nobody knows.
    pub(super) wall_ns: Option<(i64, i64)>,
}

pub(super) struct Shifts<'a> {
    pub(super) all: Vec<Shift>,
    drifts: Vec<&'a FaultRecord>,
}

impl<'a> Shifts<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        let drifts = window::installed(run)
            .filter(|fault| fault.planned.trouble == Trouble::Drift)
            .collect();
        let mut shifts = Self { all: Vec::new(), drifts };
        let mut samples: Vec<&Sample> =
            run.samples.iter().filter(|sample| sample.answered).collect();
        samples.sort_by_key(|sample| sample.time);
        let (mut term, mut seen_ns) = (0_u64, 0_u64);
        for sample in &samples {
            if term < sample.term && term != 0 {
                let leads = |other: &&&Sample| other.role == "leader" && sample.term <= other.term;
                // Whoever has a new term need not have won it yet.
                let led_ns = samples.iter().find(leads).map_or(sample.time, |other| other.time);
                let change = Change {
                    from_ns: seen_ns.saturating_sub(LOOK_NS),
                    to_ns: led_ns.max(sample.time).saturating_add(LOOK_NS),
                    terms: sample.term - term,
                };
                let shift = shifts.shift(run, &samples, (sample.term, change));
                shifts.all.push(shift);
            }
            term = term.max(sample.term);
            // The later ones of an old term are of nodes that do not know better.
            if sample.term == term {
                seen_ns = sample.asked_ns.min(sample.time);
            }
        }
        shifts
    }

    /// Those after which cluster time may have gone on from the last stamp or a wall clock.
    pub(super) fn cold(&self) -> usize {
        self.all.iter().filter(|shift| shift.cold.is_some()).count()
    }

    fn shift(&self, run: &Run, samples: &[&Sample], (term, change): (u64, Change)) -> Shift {
        let span = (change.from_ns, change.to_ns);
        let is_slow = |fault: &FaultRecord| {
            let slows = matches!(
                fault.planned.trouble,
                Trouble::Packet | Trouble::Squeeze | Trouble::SlowDisk | Trouble::Pause
            );
            slows && window::touches(fault, span, MARGIN_NS)
        };
        let once = if window::installed(run).any(is_slow) { CHANGE_SLOW_NS } else { CHANGE_NS };
        let times = i64::try_from(change.terms).unwrap_or(CHANGES_MAX).min(CHANGES_MAX);
        // Two clocks may run wrong in opposite ways.
        let apart = ESTIMATE_NS / 1_000_000 * 2 * self.drift_ppm(signed(span.0), signed(span.1));
        let is_cold = leader_may_be_cold(run, samples, (term, change));
        Shift {
            from_ns: signed(change.from_ns),
            to_ns: signed(change.to_ns),
            by: ((CHANGE_NS + apart) * times, (once + apart) * times),
            cold: is_cold.then(|| Cold { wall_ns: wall_ns(run, span) }),
        }
    }

    /// How fast cluster time may part from true between two moments, in millionths.
    pub(super) fn ppm(&self, from_ns: i64, to_ns: i64) -> i64 {
        SLEW_PPM + self.drift_ppm(from_ns, to_ns)
    }

    fn drift_ppm(&self, from_ns: i64, to_ns: i64) -> i64 {
        let ns = |time: i64| u64::try_from(time).unwrap_or(0);
        // The node looks at its file every now and then.
        let margin_ns = SECOND;
        let active = self
            .drifts
            .iter()
            .filter(|fault| window::touches(fault, (ns(from_ns), ns(to_ns)), margin_ns));
        active.map(|fault| rate_of(&fault.evidence)).max().unwrap_or(0)
    }

    /// The leader changes that may have happened between two moments.
    pub(super) fn between(&self, from_ns: i64, to_ns: i64) -> impl Iterator<Item = &Shift> {
        self.all.iter().filter(move |shift| shift.from_ns <= to_ns && from_ns <= shift.to_ns)
    }
}

/// Between two looks at the terms.
#[derive(Clone, Copy, Debug)]
struct Change {
    from_ns: u64,
    to_ns: u64,
    terms: u64,
}

/// The largest rate that the evidence tells of, whatever its sign, for one node or several.
fn rate_of(evidence: &Value) -> i64 {
    fn largest(value: &Value) -> Option<i64> {
        match value {
            Value::Number(number) => number.as_i64().map(i64::abs),
            Value::Array(values) => values.iter().filter_map(largest).max(),
            Value::Object(values) => values.values().filter_map(largest).max(),
            Value::Null | Value::Bool(_) | Value::String(_) => None,
        }
    }
    evidence.get("rate_ppm").and_then(largest).unwrap_or(DRIFT_PPM)
}

/// May whoever leads in this term have been told no time since its process began?
fn leader_may_be_cold(run: &Run, samples: &[&Sample], (term, change): (u64, Change)) -> bool {
    let began = processes_began(run, samples, change.to_ns);
    let is_cold = |node: &str| {
        let Some(began_ns) = began.get(node).copied().filter(|began| 0 < *began) else {
            return false;
        };
        // Has it followed a leader since?
        !samples.iter().any(|sample| {
            sample.node == node
                && began_ns < sample.asked_ns
                && sample.time <= change.to_ns
                && sample.term < term
                && sample.role == "follower"
                && sample.leader.is_some()
        })
    };
    let leader = samples.iter().find(|sample| sample.term == term && sample.role == "leader");
    match leader {
        Some(leader) => is_cold(&leader.node),
        None => began.keys().any(|node| is_cold(node)),
    }
}

/// When the process of each node last began, at the latest; 0 where it is the first one.
fn processes_began<'a>(run: &Run, samples: &[&'a Sample], by_ns: u64) -> BTreeMap<&'a str, u64> {
    let mut began: BTreeMap<&str, u64> = BTreeMap::new();
    for sample in samples {
        began.entry(sample.node.as_str()).or_insert(0);
    }
    let mut note = |node: Option<&str>, at: u64| {
        for (name, known) in &mut began {
            if node.is_none_or(|node| node == *name) {
                *known = at.max(*known);
            }
        }
    };
    for exit in run.ending.exits.iter().filter(|exit| exit.time <= by_ns) {
        note(Some(&exit.node), exit.time);
    }
    for fault in window::installed(run).filter(|fault| fault.began_ns <= by_ns) {
        if window::ends_processes(fault.planned.trouble) {
            let at = if fault.ended_ns <= by_ns { fault.ended_ns } else { fault.began_ns };
            fault.nodes.iter().for_each(|node| note(Some(node), at));
            if fault.planned.target == Target::All {
                note(None, at);
            }
        }
    }
    began
}

/// How far wall clocks may have been from true in a span, at least and at most.
fn wall_ns(run: &Run, span: (u64, u64)) -> Option<(i64, i64)> {
    let (mut behind_ns, mut ahead_ns) = (0, 0);
    for fault in window::installed(run) {
        let sets = window::is_of_clocks(fault.planned.trouble);
        if sets && window::touches(fault, span, MARGIN_NS) {
            let offset = fault.evidence.get("wall_offset_ms").and_then(Value::as_i64)?;
            behind_ns = behind_ns.min(offset.saturating_mul(MS));
            ahead_ns = ahead_ns.max(offset.saturating_mul(MS));
        }
    }
    Some((behind_ns, ahead_ns))
}
