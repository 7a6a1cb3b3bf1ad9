//! What nodes say that the time is: near cluster time, and never earlier than they said before.

use std::collections::BTreeMap;

use super::{
    Finding, in_ms,
    offset::{Interval, Offsets},
};
use crate::{
    check::{
        state::{MS, SECOND, signed},
        verdict::Anomaly,
        window,
    },
    history::op::F,
    nemesis::Trouble,
    test::run::Run,
};

/// How far what clients are told may be from cluster time.
const TOLD_NS: i64 = 100 * MS;
/// How far a node's estimate may be from it.
const ESTIMATE_NS: i64 = 250 * MS;
/// More of it where its own clock runs at another rate, until it has heard from the leader again.
const DRIFT_NS: i64 = 250 * MS;
/// After a fault, until a node hears from a leader again.
const MARGIN_NS: u64 = 3 * SECOND;

/// A node said that cluster time is this.
struct Told<'a> {
    node: &'a str,
    asked_ns: u64,
    answered_ns: u64,
    cluster_ms: i64,
    /// The operation, where a client asked.
    op: Option<u64>,
}

pub(super) fn check(run: &Run, offsets: &Offsets<'_>) -> Finding {
    let mut finding = Finding::default();
    let (told, samples) = (by_clients(run), by_samples(run));
    let mut farthest = 0;
    for (all, allowed_ns) in [(&told, TOLD_NS), (&samples, ESTIMATE_NS)] {
        for one in all.iter().filter(|one| !is_excused(run, one)) {
            let Some(apart) = one.apart(offsets) else { continue };
            farthest = farthest.max(apart.abs());
            let drift_ns = if is_drifting(run, one) { DRIFT_NS } else { 0 };
            if allowed_ns + drift_ns < apart.abs() {
                let (by_ms, side) =
                    (super::float_ms(apart.abs()), if 0 < apart { "ahead of" } else { "behind" });
                finding
                    .add(one.anomaly(format!("it told a time {by_ms:.3} ms {side} cluster time")));
            }
        }
    }
    for anomaly in went_back(run, told.iter().chain(&samples)) {
        finding.add(anomaly);
    }
    finding.fact("times_told", told.len() + samples.len());
    finding.fact("farthest_told_ms", in_ms(farthest));
    finding
}

fn by_clients(run: &Run) -> Vec<Told<'_>> {
    let told = run.ops.iter().filter(|op| op.f == F::Time).filter_map(|op| {
        Some(Told {
            node: &op.node,
            asked_ns: op.invoked_ns,
            answered_ns: op.returned_ns?,
            cluster_ms: op.answer()?["timestamp_ms"].as_i64()?,
            op: Some(op.index),
        })
    });
    told.collect()
}

/// Of nodes that were in touch with a leader.
fn by_samples(run: &Run) -> Vec<Told<'_>> {
    let told = run.samples.iter().filter_map(|sample| {
        let knows = match sample.role.as_str() {
            "leader" => true,
            "follower" | "learner" => sample.leader.is_some(),
            _ => false,
        };
        Some(Told {
            node: &sample.node,
            asked_ns: sample.asked_ns,
            answered_ns: sample.time,
            cluster_ms: i64::try_from(sample.cluster_time_ms).ok().filter(|ms| 0 < *ms)?,
            op: None,
        })
        .filter(|_| sample.answered && knows)
    });
    told.collect()
}

impl Told<'_> {
    /// How far it is from cluster time at least; ahead of it where that is positive.
    fn apart(&self, offsets: &Offsets<'_>) -> Option<i64> {
        let (asked, answered) = (signed(self.asked_ns), signed(self.answered_ns));
        let (before, after) = (offsets.at(asked)?, offsets.at(answered)?);
        let stamp_ns = self.cluster_ms.saturating_mul(MS);
        let told = Interval {
            low: stamp_ns.saturating_sub(answered),
            high: stamp_ns.saturating_add(MS).saturating_sub(asked),
        };
        let known = Interval { low: before.low.min(after.low), high: before.high.max(after.high) };
        Some(told.ahead_of(known))
    }

    fn anomaly(&self, what: String) -> Anomaly {
        Anomaly::new(what).node(self.node).time(self.answered_ns).ops(self.op)
    }
}

/// Was there a fault that may keep a node from knowing what time it is? What sets clocks wrong is
/// none: that is what must not matter.
fn is_excused(run: &Run, told: &Told<'_>) -> bool {
    let span = (told.asked_ns, told.answered_ns);
    window::installed(run).any(|fault| {
        !window::is_of_clocks(fault.planned.trouble) && window::touches(fault, span, MARGIN_NS)
    })
}

fn is_drifting(run: &Run, told: &Told<'_>) -> bool {
    let span = (told.asked_ns, told.answered_ns);
    window::installed(run).any(|fault| {
        fault.planned.trouble == Trouble::Drift && window::touches(fault, span, MARGIN_NS)
    })
}

/// A process never tells a time before one that it told already.
fn went_back<'a>(run: &Run, told: impl Iterator<Item = &'a Told<'a>>) -> Vec<Anomaly> {
    let mut by_node: BTreeMap<&str, Vec<&Told<'_>>> = BTreeMap::new();
    for one in told {
        by_node.entry(one.node).or_default().push(one);
    }
    let mut anomalies = Vec::new();
    for (node, mut told) in by_node {
        let mut ended: Vec<u64> = restarts(run, node);
        ended.sort_unstable();
        told.sort_by_key(|one| one.asked_ns);
        // By when they were answered, so that the largest of those before a question is known.
        let mut answered: Vec<&Told<'_>> = told.clone();
        answered.sort_by_key(|one| one.answered_ns);
        let mut answered = answered.into_iter().peekable();
        let mut largest: Option<&Told<'_>> = None;
        for one in told {
            while let Some(before) = answered.next_if(|before| before.answered_ns < one.asked_ns) {
                if largest.is_none_or(|largest| largest.cluster_ms < before.cluster_ms) {
                    largest = Some(before);
                }
            }
            let is_other_process = |before: &&Told<'_>| {
                ended.iter().any(|at| before.asked_ns <= *at && *at <= one.answered_ns)
            };
            if largest.as_ref().is_some_and(is_other_process) {
                largest = None;
            }
            if let Some(before) = largest.filter(|before| one.cluster_ms < before.cluster_ms) {
                let by_ms = before.cluster_ms - one.cluster_ms;
                anomalies.push(
                    one.anomaly(format!("it told a time {by_ms} ms before one that it had told")),
                );
            }
        }
    }
    anomalies
}

/// When processes of the node ended, or may have.
fn restarts(run: &Run, node: &str) -> Vec<u64> {
    let exits = run.ending.exits.iter().filter(|exit| exit.node == node).map(|exit| exit.time);
    let faults = window::installed(run).filter(|fault| {
        window::ends_processes(fault.planned.trouble) && fault.nodes.iter().any(|name| name == node)
    });
    exits.chain(faults.flat_map(|fault| [fault.began_ns, fault.ended_ns])).collect()
}
