//! How long the cluster did not serve, and because of what. Faults may cost time, so this is mostly
//! figures; but once everything is healed, something has to succeed.

use serde_json::{Value, json};

use super::{
    quantile::Quantiles,
    state::{SECOND, to_ms},
    verdict::{Anomaly, Verdict},
    window,
};
use crate::{
    history::pair::{Op, Outcome},
    nemesis::{FaultRecord, Trouble},
    test::run::Run,
};

/// So many operations after the heal, and none succeeded: then nothing does.
const TRIES: usize = 5;
/// For how long after its end a fault can still cost a leader.
const AFTER_NS: u64 = 2 * SECOND;

/// A fault that took the leadership from a node, or was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeover {
    pub trouble: Trouble,
    /// Did the leader know that it was to go?
    pub planned: bool,
    /// The longest time without an acknowledged write while the fault was there or soon after, and
    /// before the next such fault.
    ///
    /// A fault takes a moment to take hold, and writes go on until then: so this is the pause
    /// itself, from the last write before it to the first after it, and not the time since the
    /// fault began.
    pub ms: u64,
}

pub fn check(run: &Run) -> Verdict {
    let writes = Writes::of(run);
    let takeovers = takeovers(run);
    let of = |planned: bool| {
        let of = takeovers.iter().filter(|takeover| takeover.planned == planned);
        Quantiles::of(of.map(|takeover| takeover.ms)).to_value()
    };
    let windows: Vec<Value> =
        window::installed(run).map(|fault| during(run, &writes, fault)).collect();
    let (gap_ns, gap_at_ns) = writes.longest_gap();
    let last_ns = run.ops.iter().map(|op| op.invoked_ns).max().unwrap_or(0);
    let (after, unknown) = after_the_heal(run);
    let verdict = Verdict::of("availability", after)
        .with("success_percent", percent(&run.ops.iter().collect::<Vec<_>>()))
        .with("writes_acknowledged", writes.returned_ns.len())
        .with("longest_gap_ms", to_ms(gap_ns))
        .with("longest_gap_at_ms", to_ms(gap_at_ns))
        .with("unplanned_takeovers_ms", of(false))
        .with("planned_takeovers_ms", of(true))
        .with("clients_worked_ms", to_ms(last_ns))
        .with("windows", windows);
    match unknown {
        Some(why) => verdict.unknown(why),
        None => verdict,
    }
}

/// What each fault that hit the leader cost.
pub fn takeovers(run: &Run) -> Vec<Takeover> {
    let writes = Writes::of(run);
    let hits = |fault: &&FaultRecord| fault.hit_leader && is_planned(fault).is_some();
    let mut faults: Vec<&FaultRecord> = window::installed(run).filter(hits).collect();
    faults.sort_by_key(|fault| fault.began_ns);
    // A pause has one cause: what began after the next fault did is not counted for this one, too.
    let next_ns = faults.iter().skip(1).map(|next| next.began_ns).chain([u64::MAX]);
    let takeover = |(fault, next_ns): (&&FaultRecord, u64)| {
        let to_ns = fault.ended_ns.saturating_add(AFTER_NS);
        let gap_ns = writes.gap_between((fault.began_ns, to_ns), next_ns)?;
        let (trouble, planned) = (fault.planned.trouble, is_planned(fault)?);
        Some(Takeover { trouble, planned, ms: to_ms(gap_ns) })
    };
    faults.iter().zip(next_ns).filter_map(takeover).collect()
}

/// Does a leader know that it is to go? `None` where the fault is not meant to make it go.
const fn is_planned(fault: &FaultRecord) -> Option<bool> {
    match fault.planned.trouble {
        Trouble::Transfer | Trouble::Stop => Some(true),
        Trouble::Kill | Trouble::Pause | Trouble::Power => Some(false),
        Trouble::Partition
        | Trouble::Packet
        | Trouble::ClientPartition
        | Trouble::Clock
        | Trouble::Drift
        | Trouble::LyingDisk
        | Trouble::DiskError
        | Trouble::DiskFull
        | Trouble::SlowDisk
        | Trouble::Corrupt
        | Trouble::DataLoss
        | Trouble::Membership
        | Trouble::Snapshot
        | Trouble::RollingRestart
        | Trouble::Upgrade
        | Trouble::Flood
        | Trouble::Squeeze => None,
    }
}

/// When writes were acknowledged, in order.
struct Writes {
    returned_ns: Vec<u64>,
    /// Each with when it was asked for.
    both_ns: Vec<(u64, u64)>,
}

impl Writes {
    fn of(run: &Run) -> Self {
        let ok = run.ops.iter().filter(|op| op.f.writes() && op.answer().is_some());
        let mut both_ns: Vec<(u64, u64)> =
            ok.filter_map(|op| Some((op.invoked_ns, op.returned_ns?))).collect();
        both_ns.sort_by_key(|(_, returned)| *returned);
        let returned_ns = both_ns.iter().map(|(_, returned)| *returned).collect();
        Self { returned_ns, both_ns }
    }

    /// How long it was, and when it began.
    fn longest_gap(&self) -> (u64, u64) {
        let gaps = self.returned_ns.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        gaps.max().unwrap_or((0, 0))
    }

    /// The longest gap that overlaps with the span; `None` where no write followed it.
    fn gap_within(&self, span: (u64, u64)) -> Option<u64> {
        self.gap_between(span, u64::MAX)
    }

    /// The same, without gaps that are still there at `next_ns`, unless they were there from the
    /// beginning.
    fn gap_between(&self, (from_ns, to_ns): (u64, u64), next_ns: u64) -> Option<u64> {
        let first = self.returned_ns.partition_point(|at| *at < from_ns).saturating_sub(1);
        let from = self.returned_ns.get(first..)?;
        let gaps = from.windows(2).take_while(|pair| pair[0] < to_ns);
        let own = gaps.filter(|pair| pair[1] <= next_ns || pair[0] <= from_ns);
        own.map(|pair| pair[1] - pair[0]).max()
    }

    /// How long after a moment the first write was acknowledged that was asked for after it.
    fn next_after(&self, moment_ns: u64) -> Option<u64> {
        let next = self.both_ns.iter().find(|(invoked, _)| moment_ns <= *invoked);
        next.map(|(_, returned)| returned - moment_ns)
    }
}

/// How the cluster served while a fault was there.
fn during(run: &Run, writes: &Writes, fault: &FaultRecord) -> Value {
    let (from_ns, to_ns) = (fault.began_ns, fault.ended_ns);
    let ops: Vec<&Op> =
        run.ops.iter().filter(|op| (from_ns..to_ns).contains(&op.invoked_ns)).collect();
    json!({
        "id": fault.planned.id,
        "trouble": window::name(fault.planned.trouble),
        "form": fault.planned.form,
        "nodes": fault.nodes,
        "hit_leader": fault.hit_leader,
        "from_ms": to_ms(from_ns),
        "to_ms": to_ms(to_ns),
        "operations": ops.len(),
        "success_percent": percent(&ops),
        "longest_gap_ms": writes.gap_within((from_ns, to_ns)).map(to_ms),
        "to_next_write_ms": writes.next_after(from_ns).map(to_ms),
        "heal_to_next_write_ms": writes.next_after(to_ns).map(to_ms),
    })
}

/// Was it answered as it should be? A refusal that the state explains is as good as anything.
const fn is_served(op: &Op) -> bool {
    match &op.outcome {
        Outcome::Ok { .. } => true,
        Outcome::Fail { status: Some(status), .. } => 400 <= *status && *status < 500,
        Outcome::Fail { status: None, .. } | Outcome::Info { .. } => false,
    }
}

/// Operations that were served, of a hundred.
fn percent(ops: &[&Op]) -> Value {
    let served = ops.iter().filter(|op| is_served(op)).count() * 100;
    served.checked_div(ops.len()).map_or(Value::Null, Value::from)
}

/// Once all is well, operations are served: what is wrong otherwise, and why nobody knows.
fn after_the_heal(run: &Run) -> (Vec<Anomaly>, Option<String>) {
    let ending = &run.ending;
    let since_ns = if ending.recovered { ending.ready_ns } else { ending.healed_ns };
    let after: Vec<&Op> = run.ops.iter().filter(|op| since_ns <= op.invoked_ns).collect();
    let mut anomalies = Vec::new();
    for (writes, what) in [(true, "write"), (false, "read")] {
        let tried: Vec<&&Op> = after.iter().filter(|op| op.f.writes() == writes).collect();
        if TRIES <= tried.len() && !tried.iter().any(|op| is_served(op)) {
            let what = format!(
                "no {what} was served after everything was healed, of {} that were tried",
                tried.len()
            );
            let ops = tried.iter().take(TRIES).map(|op| op.index);
            anomalies.push(Anomaly::new(what).time(since_ns).ops(ops));
        }
    }
    let unknown = (!after.iter().any(|op| is_served(op)))
        .then(|| String::from("nothing was tried often enough after everything was healed"));
    (anomalies, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{
            example::{Example, reread},
            verdict::Validity,
        },
        history::op::{F, Kind},
    };

    /// Switches every 20 ms, but for the time from 1000 to 1500.
    fn good() -> Example {
        let mut example = Example::started();
        for at in (300..1_000).chain(1_500..2_500).step_by(20) {
            example.write(F::Switch, "s", at);
        }
        for at in (2_105..2_305).step_by(20) {
            let state = example.state("s");
            example.op((F::Read, Some("s")), Value::Null, (at, at + 2), Ok(state));
        }
        example.fault(Trouble::Kill, &["n1"], (900, 1_300));
        example.fault(Trouble::Transfer, &["n1"], (1_600, 1_700));
        example.fault(Trouble::Pause, &["n3"], (1_800, 1_900));
        example.end(2_000);
        example
    }

    #[test]
    fn pauses_are_measured() {
        let verdict = check(&good().run());
        assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
        assert_eq!(verdict.facts["longest_gap_ms"], 520);
        assert_eq!(verdict.facts["longest_gap_at_ms"], 984);
        let kill = &verdict.facts["windows"][0];
        assert_eq!((&kill["longest_gap_ms"], &kill["success_percent"]), (&520.into(), &100.into()));
        assert_eq!(kill["heal_to_next_write_ms"], 204);
        let told = takeovers(&good().run());
        let expected = [
            Takeover { trouble: Trouble::Kill, planned: false, ms: 520 },
            Takeover { trouble: Trouble::Transfer, planned: true, ms: 20 },
        ];
        assert_eq!(told, expected);
        assert_eq!(verdict.facts["unplanned_takeovers_ms"]["count"], 1);
    }

    #[test]
    fn a_pause_is_counted_once_and_for_its_own_fault() {
        let mut example = Example::started();
        for at in (300..1_000).chain(1_200..2_000).chain(2_600..5_000).step_by(20) {
            example.write(F::Switch, "s", at);
        }
        // The second one begins when the first has ended, but not two seconds ago, and as it is
        // with faults: a moment after the last write that was acknowledged.
        example.fault(Trouble::Kill, &["n1"], (990, 1_500));
        example.fault(Trouble::Kill, &["n1"], (1_990, 2_700));
        example.end(4_000);
        let ms: Vec<u64> = takeovers(&example.run()).iter().map(|takeover| takeover.ms).collect();
        assert_eq!(ms, [220, 620]);
    }

    /// What if these did not succeed?
    fn broken(breaks: impl Fn(F, u64) -> bool, kind: Kind) -> Verdict {
        let mut run = good().run();
        for event in run.events.iter_mut().filter(|event| event.kind == Kind::Ok) {
            if F::parse(&event.f).is_some_and(|f| breaks(f, event.time / 1_000_000)) {
                (event.kind, event.status) = (kind, None);
            }
        }
        reread(&mut run);
        check(&run)
    }

    #[test]
    fn a_cluster_that_does_not_come_back_is_found() {
        let is_write = |f: F| f.writes();
        let cases = [
            broken(|f, at| is_write(f) && 2_000 <= at, Kind::Fail),
            broken(|f, at| is_write(f) && 2_000 <= at, Kind::Info),
            broken(|f, at| !is_write(f) && 2_000 <= at, Kind::Fail),
            broken(|_, at| 2_000 <= at, Kind::Info),
            broken(|_, at| 900 <= at, Kind::Fail),
        ];
        for verdict in cases {
            assert_eq!(verdict.valid, Validity::Invalid);
        }
        // What went wrong before is no more than a figure.
        let before = broken(|_, at| at < 1_900, Kind::Fail);
        assert_eq!(before.valid, Validity::Valid, "{:?}", before.anomalies);
    }

    #[test]
    fn a_heal_that_nobody_tried_is_unknown() {
        let mut example = Example::started();
        example.end(2_000);
        assert_eq!(check(&example.run()).valid, Validity::Unknown);
    }
}
