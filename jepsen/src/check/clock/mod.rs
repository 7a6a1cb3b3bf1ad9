//! Promises P3 and P4: there is one cluster time, which neither a leader change nor a host's clock
//! moves; clocks of sessions run by it to the millisecond, and run out when they are due.
//!
//! The runner cannot see cluster time, but every answer bounds it: an operation was stamped between
//! its invocation and its return, so cluster time minus the runner's monotonic time lies between
//! two known values. Over all operations these bounds must have something in common, give or take
//! what the clock may be slewed and what a leader change may cost.

mod charge;
mod expiry;
mod offset;
mod shift;
mod stamped;
mod told;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use self::{offset::Offsets, shift::Shifts};
use super::verdict::{Anomaly, Verdict};
use crate::test::run::Run;

/// More anomalies of one kind than this say nothing new.
const ENOUGH: usize = 50;

/// Cluster time minus the runner's clock lay within this at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub time_ns: u64,
    /// Relative to the middle of the first point.
    pub low_ms: f64,
    pub high_ms: f64,
}

/// What one of the parts found.
#[derive(Debug, Default)]
struct Finding {
    anomalies: Vec<Anomaly>,
    facts: Vec<(&'static str, Value)>,
    /// So many more of the same.
    left_out: usize,
}

impl Finding {
    fn add(&mut self, anomaly: Anomaly) {
        if self.anomalies.len() < ENOUGH {
            self.anomalies.push(anomaly);
        } else {
            self.left_out += 1;
        }
    }

    fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }
}

pub fn check(run: &Run) -> Verdict {
    let stamped = stamped::of(run);
    let shifts = Shifts::of(run);
    let (offsets, passed) = Offsets::of(&stamped.ops, &shifts);
    let mut findings = vec![passed, charge::monotone(run), charge::check(run)];
    findings.push(expiry::check(run, &offsets));
    findings.push(told::check(run, &offsets));
    let left_out: usize = findings.iter().map(|finding| finding.left_out).sum();
    let anomalies: Vec<Anomaly> =
        findings.iter_mut().flat_map(|finding| std::mem::take(&mut finding.anomalies)).collect();
    let mut verdict = Verdict::of("clock", anomalies)
        .with("operations", stamped.ops.len())
        .with("operations_without_revision", stamped.without_revision)
        .with("leader_changes", shifts.all.len())
        .with("leader_changes_to_who_heard_nothing", shifts.cold());
    if 0 < left_out {
        verdict = verdict.with("anomalies_left_out", left_out);
    }
    for (name, value) in findings.into_iter().flat_map(|finding| finding.facts) {
        verdict = verdict.with(name, value);
    }
    if stamped.ops.is_empty() {
        verdict = verdict.unknown("no operation has a stamp and a place in the log");
    }
    verdict
}

/// Cluster time against the runner's clock, for the clock plot.
pub fn series(run: &Run) -> Vec<Point> {
    let stamped = stamped::of(run);
    let shifts = Shifts::of(run);
    let (offsets, _) = Offsets::of(&stamped.ops, &shifts);
    offsets.series()
}

/// Nanoseconds as milliseconds with a fraction, for people.
fn in_ms(nanos: i64) -> Value {
    json!(float_ms(nanos))
}

/// Exact to a thousandth for spans of less than 24 days, which is what a test lasts at most.
fn float_ms(nanos: i64) -> f64 {
    let micros = i32::try_from(nanos / 1_000);
    micros.map_or_else(|_| if nanos < 0 { f64::MIN } else { f64::MAX }, |us| f64::from(us) / 1e3)
}
