//! Clocks that run out: never early, and soon after they are due wherever the cluster works.

use std::collections::BTreeMap;

use super::{
    Finding,
    offset::{Interval, Offsets},
};
use crate::{
    check::{
        act::Acts,
        quantile::Quantiles,
        state::{MS, SECOND, number, signed, to_ms},
        verdict::Anomaly,
    },
    history::tape::{Update, What},
    test::run::Run,
};

/// How long a cluster that works may take to let a clock run out.
const LATE_MAX_NS: u64 = 4 * SECOND;
/// A cluster works between two acknowledged writes that are no farther apart than this.
const WORKS_GAP_NS: u64 = SECOND;
/// Rounding, in either direction.
const SLACK_NS: i64 = 2 * MS;

pub(super) fn check(run: &Run, offsets: &Offsets<'_>) -> Finding {
    let mut finding = Finding::default();
    let works = Works::of(run);
    let listening = Listening::of(run);
    let (mut late_ms, mut compared) = (Quantiles::new(), 0_u64);
    for update in run.tape.sessions.values().flatten() {
        let Some(due_ms) = number(&update.cause, "due_ms") else { continue };
        let Some(offset) = offsets.at(signed(update.seen_ns)) else { continue };
        compared += 1;
        // When it was due on the runner's clock, at the earliest and at the latest.
        let due_ns = due(due_ms, offset);
        let early_ns = due_ns.low.saturating_sub(SLACK_NS).saturating_sub(signed(update.seen_ns));
        if 0 < early_ns {
            let early_ms = super::float_ms(early_ns);
            finding.add(anomaly(
                update,
                format!(
                    "a clock was heard to have run out at least {early_ms:.3} ms before it was due"
                ),
            ));
        }
        let Some(due_ns) = u64::try_from(due_ns.high).ok() else { continue };
        if !listening.all_along(update, due_ns) {
            continue;
        }
        late_ms.add(to_ms(update.seen_ns.saturating_sub(due_ns)));
        let worked_ns = works.within(due_ns, update.seen_ns);
        if LATE_MAX_NS < worked_ns {
            finding.add(anomaly(update, late(worked_ns)));
        }
    }
    for (update, due_ns, until_ns) in never(run, offsets, &listening) {
        let worked_ns = works.within(due_ns, until_ns);
        if LATE_MAX_NS < worked_ns {
            finding.add(anomaly(update, format!("{}, and nobody was told of it", late(worked_ns))));
        }
    }
    finding.fact("expiries", compared);
    finding.fact("expiry_late_ms", late_ms.to_value());
    finding
}

fn late(worked_ns: u64) -> String {
    let worked_ms = to_ms(worked_ns);
    format!(
        "a clock had not run out after the cluster had worked for {worked_ms} ms since it was due"
    )
}

fn anomaly(update: &Update, what: String) -> Anomaly {
    let anomaly = Anomaly::new(what).session(&update.session);
    anomaly.at(update.revision, update.version).time(update.seen_ns)
}

/// A moment of cluster time on the runner's clock.
fn due(due_ms: i64, offset: Interval) -> Interval {
    let due_ns = due_ms.saturating_mul(MS);
    Interval { low: due_ns.saturating_sub(offset.high), high: due_ns.saturating_sub(offset.low) }
}

/// Clocks that were still running when somebody who would have been told left: the last version,
/// when it was due, and until when somebody listened.
fn never<'a>(
    run: &'a Run,
    offsets: &Offsets<'_>,
    listening: &Listening<'_>,
) -> Vec<(&'a Update, u64, u64)> {
    let (mut left, acts) = (Vec::new(), Acts::of(run));
    for (session, updates) in &run.tape.sessions {
        // It may have been deleted while nobody was there to be told.
        if !acts.deletes(session).is_empty() {
            continue;
        }
        let Some(last) = updates.last() else { continue };
        let due_ms = last.state.as_ref().and_then(|state| number(state, "deadline_ms"));
        let (Some(due_ms), Some(until_ns)) = (due_ms, listening.to_the_end(session)) else {
            continue;
        };
        let until_ns = until_ns.min(run.ending.quiet_ns);
        let Some(offset) = offsets.at(signed(until_ns)) else { continue };
        let Ok(due_ns) = u64::try_from(due(due_ms, offset).high) else { continue };
        if due_ns < until_ns {
            left.push((last, due_ns, until_ns));
        }
    }
    left
}

/// Spans in which writes were acknowledged one after the other.
struct Works {
    /// When, in order.
    acknowledged_ns: Vec<u64>,
}

impl Works {
    fn of(run: &Run) -> Self {
        let writes = run.ops.iter().filter(|op| op.f.writes() && op.answer().is_some());
        let mut acknowledged_ns: Vec<u64> = writes.filter_map(|op| op.returned_ns).collect();
        acknowledged_ns.sort_unstable();
        Self { acknowledged_ns }
    }

    /// For how long it worked between two moments.
    fn within(&self, from_ns: u64, to_ns: u64) -> u64 {
        let first = self.acknowledged_ns.partition_point(|at| *at < from_ns);
        let last = self.acknowledged_ns.partition_point(|at| *at < to_ns);
        let during = self.acknowledged_ns.get(first..last).unwrap_or_default();
        let gaps = during.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.filter(|gap| *gap <= WORKS_GAP_NS).sum()
    }
}

/// When a session was asked for, and when that was granted.
#[derive(Clone, Copy)]
struct Asked {
    at_ns: u64,
    granted_ns: Option<u64>,
}

/// Who asked for which session when, and when their connections ended.
struct Listening<'a> {
    /// By subscriber and session, when it was asked for, and when that was granted: a node on which
    /// hundreds are asked for at once takes its time.
    asked: BTreeMap<(&'a str, &'a str), Vec<Asked>>,
    /// By subscriber, when its last connection ended; `None` where it did not.
    left: BTreeMap<&'a str, Option<u64>>,
    /// Sessions of each subscriber's last connection.
    last: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Listening<'a> {
    fn of(run: &'a Run) -> Self {
        let (asked, left, last) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut listening = Self { asked, left, last };
        for frame in &run.frames {
            let name = frame.subscriber.as_str();
            match frame.what {
                What::Open => {
                    listening.left.insert(name, None);
                    listening.last.insert(name, Vec::new());
                }
                What::Close => {
                    listening.left.insert(name, Some(frame.time));
                }
                What::Subscribe => {
                    let Some(session) = frame.session.as_deref() else { continue };
                    let asked = listening.asked.entry((name, session)).or_default();
                    asked.push(Asked { at_ns: frame.time, granted_ns: None });
                    listening.last.entry(name).or_default().push(session);
                }
                What::Message if frame.value["type"] == "SUBSCRIBED" => {
                    let session = frame.value["sessionId"].as_str().unwrap_or_default();
                    let asked = listening.asked.get_mut(&(name, session));
                    if let Some(asked) = asked.and_then(|asked| asked.last_mut()) {
                        asked.granted_ns.get_or_insert(frame.time);
                    }
                }
                What::Message => {}
            }
        }
        listening
    }

    /// Did whoever heard of the update first listen since it was due?
    fn all_along(&self, update: &Update, due_ns: u64) -> bool {
        let key = (update.subscriber.as_str(), update.session.as_str());
        let asked = self.asked.get(&key).map_or(&[][..], Vec::as_slice);
        let last = asked.partition_point(|asked| asked.at_ns <= update.seen_ns);
        let last = last.checked_sub(1).and_then(|last| asked.get(last));
        last.and_then(|asked| asked.granted_ns).is_some_and(|granted_ns| granted_ns <= due_ns)
    }

    /// Until when the last of those listened who followed the session at the end.
    fn to_the_end(&self, session: &str) -> Option<u64> {
        let followed = self.last.iter().filter(|(_, sessions)| sessions.contains(&session));
        followed.map(|(name, _)| self.left.get(name).copied().flatten().unwrap_or(u64::MAX)).max()
    }
}
