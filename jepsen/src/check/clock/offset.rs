//! The offset of cluster time against the runner's clock, kept as an interval over all operations
//! in the order of the log.

use super::{
    Finding, Point, float_ms, in_ms,
    shift::{Shift, Shifts},
    stamped::Stamped,
};
use crate::check::{state::MS, verdict::Anomaly};

/// Stamps are whole milliseconds, and taking a time takes time.
const ROUNDING_NS: i64 = 2 * MS;
/// Beyond anything that happens, and far from the end of the numbers.
const FAR_NS: i64 = i64::MAX / 4;
/// Between a cluster's wall clocks, on one machine.
const WALLS_NS: i64 = 50 * MS;

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Interval {
    pub(super) fn widened(self, by_ns: i64) -> Self {
        self.stretched(by_ns, by_ns)
    }

    fn stretched(self, down_ns: i64, up_ns: i64) -> Self {
        Self { low: self.low.saturating_sub(down_ns), high: self.high.saturating_add(up_ns) }
    }

    fn hull(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    fn common(self, other: Self) -> Option<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    /// How far this lies after `other`; before it where that is negative, 0 where they touch.
    pub(super) fn ahead_of(self, other: Self) -> i64 {
        if other.high < self.low {
            self.low - other.high
        } else if self.high < other.low {
            self.high - other.low
        } else {
            0
        }
    }

    const fn middle(self) -> i64 {
        self.low / 2 + self.high / 2
    }
}

/// What one operation left possible.
#[derive(Clone, Copy, Debug)]
struct Known {
    invoked_ns: i64,
    returned_ns: i64,
    offset: Interval,
}

/// The offset over time.
pub(super) struct Offsets<'a> {
    shifts: &'a Shifts<'a>,
    /// By the time of their return.
    known: Vec<Known>,
    /// That of the first operation: the cluster began with its wall clock.
    first: Option<Interval>,
}

impl<'a> Offsets<'a> {
    /// The forward pass: also what contradicts itself.
    pub(super) fn of(ops: &[Stamped<'_>], shifts: &'a Shifts<'a>) -> (Self, Finding) {
        let mut finding = Finding::default();
        let mut offsets = Self { shifts, known: Vec::new(), first: None };
        let Some(op) = ops.first() else { return (offsets, finding) };
        let told = bounds(op);
        offsets.first = Some(told);
        offsets.note(op, told);
        let mut pass = Pass::begin(shifts, told, op);
        let (mut widest, mut moved) = (0, 0);
        for op in &ops[1..] {
            let before = pass.whole();
            if let Err(off_by) = pass.step(op, bounds(op), told) {
                finding.add(contradiction(op, pass.last, off_by));
            }
            let after = pass.whole();
            if shifts.between(pass.last_times.0, op.returned_ns).next().is_some() {
                moved = moved.max((after.middle() - before.middle()).abs());
            }
            widest = widest.max(after.high - after.low);
            pass.last = op.op;
            pass.last_times = (op.invoked_ns, op.returned_ns);
            offsets.note(op, after);
        }
        offsets.known.sort_by_key(|known| known.returned_ns);
        finding.fact("widest_interval_ms", in_ms(widest));
        finding.fact("largest_move_at_a_leader_change_ms", in_ms(moved));
        if let (Some(first), Some(last)) = (offsets.first, offsets.known.last()) {
            finding.fact("moved_in_all_ms", in_ms(last.offset.middle() - first.middle()));
        }
        (offsets, finding)
    }

    fn note(&mut self, op: &Stamped<'_>, offset: Interval) {
        let (invoked_ns, returned_ns) = (op.invoked_ns, op.returned_ns);
        self.known.push(Known { invoked_ns, returned_ns, offset });
    }

    /// What the offset can have been at a moment; `None` where no operation tells.
    pub(super) fn at(&self, time_ns: i64) -> Option<Interval> {
        let after = self.known.partition_point(|known| known.returned_ns <= time_ns);
        let before = after.checked_sub(1).and_then(|last| self.known.get(last));
        let next = self.known.get(after);
        let from_before = before
            .map(|known| self.carried(known.offset, (known.invoked_ns, time_ns), Shift::forward));
        let from_next = next.map(|known| {
            let times = (time_ns.min(known.invoked_ns), known.returned_ns);
            self.carried(known.offset, times, Shift::backward)
        });
        match (from_before, from_next) {
            (Some(before), Some(next)) => {
                Some(before.common(next).unwrap_or_else(|| before.hull(next)))
            }
            (one, other) => one.or(other),
        }
    }

    /// An offset at another time.
    fn carried(
        &self,
        offset: Interval,
        (from_ns, to_ns): (i64, i64),
        apply: fn(&Shift, Interval, i64, Interval) -> Interval,
    ) -> Interval {
        let passed_ns = to_ns.saturating_sub(from_ns);
        let mut offset = offset.widened(drift(self.shifts, from_ns, to_ns));
        let first = self.first.unwrap_or(offset);
        for shift in self.shifts.between(from_ns, to_ns) {
            offset = offset.hull(apply(shift, offset, passed_ns, first));
        }
        offset
    }

    /// Relative to the first.
    pub(super) fn series(&self) -> Vec<Point> {
        let Some(base) = self.first.map(Interval::middle) else { return Vec::new() };
        let point = |known: &Known| Point {
            time_ns: u64::try_from(known.returned_ns).unwrap_or(0),
            low_ms: float_ms(known.offset.low - base),
            high_ms: float_ms(known.offset.high - base),
        };
        self.known.iter().map(point).collect()
    }
}

/// What one operation alone says of the offset.
fn bounds(op: &Stamped<'_>) -> Interval {
    let told = Interval {
        low: op.stamp_ns.saturating_sub(op.returned_ns),
        high: op.stamp_ns.saturating_sub(op.invoked_ns),
    };
    told.widened(ROUNDING_NS)
}

/// How far the offset may move from one moment to another without a leader change.
fn drift(shifts: &Shifts<'_>, from_ns: i64, to_ns: i64) -> i64 {
    let passed_us = to_ns.saturating_sub(from_ns).max(0) / 1_000;
    passed_us.saturating_mul(shifts.ppm(from_ns, to_ns)) / 1_000
}

fn contradiction(op: &Stamped<'_>, last: u64, off_by: i64) -> Anomaly {
    let (by_ms, what) = (float_ms(off_by.abs()), if 0 < off_by { "ahead of" } else { "behind" });
    Anomaly::new(format!("its stamp is {by_ms:.3} ms {what} anything that cluster time can be"))
        .session(op.session)
        .at(op.revision, op.version)
        .time(u64::try_from(op.invoked_ns).unwrap_or(0))
        .ops([last, op.op])
}

/// Where cluster time can be, by how many of the leader changes have happened.
struct Pass<'a> {
    shifts: &'a Shifts<'a>,
    /// After so many leader changes the offset is in there.
    levels: Vec<(usize, Interval)>,
    last: u64,
    last_times: (i64, i64),
}

impl<'a> Pass<'a> {
    fn begin(shifts: &'a Shifts<'a>, told: Interval, op: &Stamped<'_>) -> Self {
        let mut pass = Self {
            shifts,
            levels: Vec::new(),
            last: op.op,
            last_times: (op.invoked_ns, op.returned_ns),
        };
        pass.restart(told, op);
        pass
    }

    /// Whatever was known before, the operation is right.
    fn restart(&mut self, told: Interval, op: &Stamped<'_>) {
        let (least, most) = self.possible(op);
        self.levels = (least..=most).map(|level| (level, told)).collect();
    }

    /// How many leader changes must, and how many can, have happened when the operation was
    /// stamped.
    fn possible(&self, op: &Stamped<'_>) -> (usize, usize) {
        let all = &self.shifts.all;
        let least = all.partition_point(|shift| shift.to_ns <= op.invoked_ns);
        let most = all.partition_point(|shift| shift.from_ns <= op.returned_ns);
        (least, most.max(least))
    }

    /// Takes the next operation in; by how much it contradicts what came before it, if it does.
    fn step(&mut self, op: &Stamped<'_>, told: Interval, first: Interval) -> Result<(), i64> {
        let (began, ended) = self.last_times;
        // Between the two stamps at most.
        let passed_ns = (op.returned_ns - began).max(ended - op.invoked_ns);
        let widen_ns = drift(self.shifts, began.min(op.invoked_ns), ended.max(op.returned_ns));
        let (least, most) = self.possible(op);
        let mut levels: Vec<(usize, Interval)> = Vec::new();
        let mut carried: Option<Interval> = None;
        let lowest = self.levels.first().map_or(least, |(level, _)| *level).min(least);
        for level in lowest..=most {
            let known = self.levels.iter().find(|(known, _)| *known == level);
            let own = known.map(|(_, interval)| interval.widened(widen_ns));
            let here = match (own, carried) {
                (Some(own), Some(carried)) => Some(own.hull(carried)),
                (own, carried) => own.or(carried),
            };
            carried = here
                .zip(self.shifts.all.get(level))
                .map(|(here, shift)| shift.forward(here, passed_ns, first));
            levels.extend(here.map(|here| (level, here)));
        }
        let possible = levels.iter().filter(|(level, _)| least <= *level);
        let off_by =
            possible.clone().map(|(_, here)| told.ahead_of(*here)).min_by_key(|by| by.abs());
        self.levels = possible
            .filter_map(|(level, here)| here.common(told).map(|both| (*level, both)))
            .collect();
        if self.levels.is_empty() {
            self.restart(told, op);
            return Err(off_by.unwrap_or(0));
        }
        Ok(())
    }

    fn whole(&self) -> Interval {
        let intervals = self.levels.iter().map(|(_, interval)| *interval);
        intervals.reduce(Interval::hull).unwrap_or(Interval { low: -FAR_NS, high: FAR_NS })
    }
}

impl Shift {
    /// Where the offset can be after it, `passed_ns` after it was in `before`.
    fn forward(&self, before: Interval, passed_ns: i64, first: Interval) -> Interval {
        let (ahead_ns, behind_ns) = self.by;
        let after = before.stretched(behind_ns, ahead_ns);
        let Some(cold) = self.cold else { return after };
        // The last stamp, however long ago that was, or the wall clock, where the first leader's
        // time came from: whichever is later.
        let stamp_low = after.low.saturating_sub(passed_ns);
        let wall = match cold.wall_ns {
            Some((least_ns, most_ns)) => Interval {
                low: first.low.saturating_add(least_ns),
                high: first.high.saturating_add(most_ns),
            }
            .stretched(WALLS_NS + behind_ns, WALLS_NS + ahead_ns),
            None => Interval { low: -FAR_NS, high: FAR_NS },
        };
        Interval { low: stamp_low.max(wall.low).min(after.low), high: after.high.max(wall.high) }
    }

    /// Where it can have been before it.
    fn backward(&self, after: Interval, passed_ns: i64, _first: Interval) -> Interval {
        let (ahead_ns, behind_ns) = self.by;
        let before = after.stretched(ahead_ns, behind_ns);
        match self.cold {
            None => before,
            Some(_) => Interval { low: -FAR_NS, high: before.high.saturating_add(passed_ns) },
        }
    }
}
