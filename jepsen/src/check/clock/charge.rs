//! Stamps and what is charged between them, exact to the millisecond: no clock of the runner is
//! needed for this.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Finding;
use crate::{
    check::{
        state::{born, number, stamp_ms, word},
        verdict::Anomaly,
    },
    history::tape::Update,
    test::run::Run,
};

/// Stamps never decrease in the order of the log, whatever session they are of, over crashes and
/// leader changes.
pub(super) fn monotone(run: &Run) -> Finding {
    let mut finding = Finding::default();
    // The largest stamp, and where it was, below the revision that is looked at and within it.
    let (mut below, mut within): (Option<At<'_>>, Option<At<'_>>) = (None, None);
    let mut revision = 0;
    for update in run.tape.in_order() {
        let Some(at) = update.state.as_ref().and_then(|state| stamp_ms(state, "updated_at")) else {
            continue;
        };
        if revision < update.revision {
            below = later(below, within.take());
            revision = update.revision;
        }
        // An expiry is stamped when it was due, which may be long before it was noticed.
        let has_own_stamp = update.cause.get("due_ms").is_none();
        if let Some((last, before)) = below.filter(|(last, _)| has_own_stamp && at < *last) {
            let (session, revision) = (&before.session, before.revision);
            let by_ms = last - at;
            finding.add(anomaly(
                update,
                format!("its stamp is {by_ms} ms before that of {session} at revision {revision}"),
            ));
        }
        within = later(within, Some((at, update)));
    }
    finding
}

/// A stamp, and what has it.
type At<'a> = (i64, &'a Update);

fn later<'a>(one: Option<At<'a>>, other: Option<At<'a>>) -> Option<At<'a>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.0 < other.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Between two versions of a session, whoever was active is charged what ran, and nobody else
/// anything; a clock runs out when it was said to; a command after that came too late.
pub(super) fn check(run: &Run) -> Finding {
    let mut finding = Finding::default();
    let (mut steps, mut expiries) = (0_u64, 0_u64);
    for updates in run.tape.sessions.values() {
        for pair in updates.windows(2) {
            let [before, after] = pair else { continue };
            let Some(step) = Step::of(before, after) else { continue };
            steps += 1;
            expiries += u64::from(step.due.is_some());
            for what in step.wrong() {
                finding.add(anomaly(after, what));
            }
        }
    }
    finding.fact("steps", steps);
    finding.fact("expiries_charged", expiries);
    finding
}

fn anomaly(update: &Update, what: String) -> Anomaly {
    let anomaly = Anomaly::new(what).session(&update.session);
    anomaly.at(update.revision, update.version).time(update.seen_ns)
}

/// From one version of a session to the next.
struct Step<'a> {
    before: &'a Value,
    after: &'a Value,
    cause: &'a Value,
    /// When it happened.
    at: i64,
    /// Since when the clock that ran was not charged; `None` where none ran.
    began: Option<i64>,
    /// When that clock would have run out.
    deadline: Option<i64>,
    /// When it did, by itself.
    due: Option<i64>,
}

impl<'a> Step<'a> {
    fn of(before: &'a Update, after: &'a Update) -> Option<Self> {
        let (old, new) = (before.state.as_ref()?, after.state.as_ref()?);
        if before.version + 1 != after.version || born(old) != born(new) {
            return None;
        }
        let runs = old["status"] == "running";
        Some(Self {
            before: old,
            after: new,
            cause: &after.cause,
            at: stamp_ms(new, "updated_at")?,
            began: stamp_ms(old, "cycle_started_at").filter(|_| runs),
            deadline: number(old, "deadline_ms").filter(|_| runs),
            due: number(&after.cause, "due_ms"),
        })
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_credit = word(self.cause, "type") == "outage_credited";
        if is_credit {
            wrong.extend(self.wrong_credit());
        }
        let ran = self.began.filter(|_| !is_credit).map_or(0, |began| (self.at - began).max(0));
        wrong.extend(self.wrong_charge(ran));
        wrong.extend(self.wrong_deadline());
        wrong.extend(self.wrong_start(is_credit));
        let last = stamp_ms(self.before, "updated_at");
        wrong.extend(last.filter(|last| self.at < *last).map(|last| {
            format!("its stamp is {} ms before that of the version before it", last - self.at)
        }));
        wrong
    }

    /// Time is neither made nor lost.
    fn wrong_charge(&self, ran: i64) -> Option<String> {
        let (old, new) = (used(self.before), used(self.after));
        let active = self.before["active_participant_id"].as_str().filter(|_| ran != 0);
        for (participant, now) in &new {
            let charged = now - old.get(participant).copied().unwrap_or(0);
            let owed = if active == Some(*participant) { ran } else { 0 };
            if charged != owed {
                return Some(format!("{participant} was charged {charged} ms, and ran {owed} ms"));
            }
        }
        let elapsed = |state: &Value| number(state, "elapsed_ms").unwrap_or(0);
        let grown = elapsed(self.after) - elapsed(self.before);
        (grown != ran).then(|| format!("elapsed_ms grew by {grown} ms, and {ran} ms had run"))
    }

    fn wrong_deadline(&self) -> Option<String> {
        let at = self.at;
        match (self.due, self.deadline) {
            (Some(due), _) if due != at => {
                Some(format!("a clock that was due at {due} is stamped {at}"))
            }
            (Some(due), deadline) if deadline != Some(due) => {
                let told = deadline.map_or_else(|| String::from("never"), |at| at.to_string());
                Some(format!("a clock ran out at {due} that was to run out at {told}"))
            }
            (Some(_), _) | (None, None) => None,
            (None, Some(deadline)) => {
                // What was due when an outage began took effect before it is credited.
                let at = number(self.cause, "from_ms").unwrap_or(at);
                (deadline <= at).then(|| {
                    let what = word(self.cause, "type");
                    format!("{what} at {at} took effect on a clock that had run out at {deadline}")
                })
            }
        }
    }

    /// Where a clock runs on, it runs from here.
    fn wrong_start(&self, is_credit: bool) -> Option<String> {
        let began = stamp_ms(self.after, "cycle_started_at")?;
        (!is_credit && began != self.at)
            .then(|| format!("the clock runs from {began}, and the change was at {}", self.at))
    }

    fn wrong_credit(&self) -> Option<String> {
        let of = |field: &str| number(self.cause, field);
        let (Some(from), Some(until), Some(credited)) =
            (of("from_ms"), of("until_ms"), of("credited_ms"))
        else {
            return Some(String::from("an outage was credited without its span"));
        };
        let Some(began) = self.began else {
            return Some(String::from("an outage was credited where no clock ran"));
        };
        let owed = until - from.max(began);
        if until != self.at || credited != owed {
            return Some(format!("{credited} ms were credited for an outage of {owed} ms"));
        }
        let moved = stamp_ms(self.after, "cycle_started_at").map(|now| now - began);
        (moved != Some(credited)).then(|| {
            let moved = moved.unwrap_or(0);
            format!("{credited} ms were credited, and the clock was given back {moved} ms")
        })
    }
}

/// Time used by each participant.
fn used(state: &Value) -> BTreeMap<&str, i64> {
    let participants = state["participants"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |participant: &'_ Value| number(participant, "time_used_ms").unwrap_or(0);
    participants
        .iter()
        .filter_map(|participant| Some((participant["participant_id"].as_str()?, of(participant))))
        .collect()
}
