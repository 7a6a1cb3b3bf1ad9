//! The order of the log is one in which everything may have happened: what had returned before
//! something else was asked for stands before it (strict serializability, over all sessions).

use super::answers::{Index, read};
use crate::{
    check::{
        act::Acts,
        state::{version, word},
        verdict::Anomaly,
    },
    history::op::F,
    test::run::Run,
};

/// An operation that took place between two revisions.
struct Placed {
    /// It saw the effect of this revision.
    saw: u64,
    /// It did not see the effect of this one; of a change the revision that it made.
    before: u64,
    changes: bool,
    invoked_ns: u64,
    returned_ns: u64,
    op: u64,
    session: String,
    version: u64,
}

/// Returns how many operations have their place.
pub(super) fn check(
    run: &Run,
    acts: &Acts<'_>,
    index: &Index<'_>,
    anomalies: &mut Vec<Anomaly>,
) -> usize {
    let mut placed = Vec::new();
    changes(acts, index, &mut placed);
    reads(run, index, &mut placed);
    let mut returns: Vec<usize> = (0..placed.len()).collect();
    returns.sort_by_key(|place| placed[*place].returned_ns);
    let mut invocations: Vec<usize> = (0..placed.len()).collect();
    invocations.sort_by_key(|place| placed[*place].invoked_ns);
    let (mut returned, mut latest): (usize, Option<&Placed>) = (0, None);
    for place in invocations {
        let now = &placed[place];
        while let Some(done) = returns.get(returned).map(|done| &placed[*done])
            && done.returned_ns < now.invoked_ns
        {
            if latest.is_none_or(|latest| latest.saw < done.saw) {
                latest = Some(done);
            }
            returned += 1;
        }
        let Some(latest) = latest.filter(|latest| now.before <= latest.saw) else { continue };
        let what = if now.changes {
            format!(
                "a change stands at revision {} of the log, and what had been seen before it was asked for at {}",
                now.before, latest.saw
            )
        } else {
            format!(
                "a read gave version {}, which was over at revision {}, and revision {} had been seen before it was asked for",
                now.version, now.before, latest.saw
            )
        };
        anomalies.push(
            Anomaly::new(what)
                .session(&now.session)
                .at(now.saw, now.version)
                .ops([latest.op, now.op])
                .time(now.invoked_ns),
        );
    }
    placed.len()
}

fn changes(acts: &Acts<'_>, index: &Index<'_>, placed: &mut Vec<Placed>) {
    for (session, of) in acts.iter() {
        for act in of.iter().filter(|act| act.f != F::Create) {
            let (Some(answer), Some(returned_ns)) = (act.answer, act.until_ns) else { continue };
            let (Some(life), Some(version)) = (index.life(session, answer), version(answer)) else {
                continue;
            };
            let Some(update) = life.update(version) else { continue };
            placed.push(Placed {
                saw: update.revision,
                before: update.revision,
                changes: true,
                invoked_ns: act.from_ns,
                returned_ns,
                op: act.op.index,
                session: session.to_owned(),
                version,
            });
        }
    }
}

/// Linearizable reads only. What a clock did by itself may be seen from the moment that it was
/// due, before it has its place in the log.
fn reads(run: &Run, index: &Index<'_>, placed: &mut Vec<Placed>) {
    for op in run.ops.iter().filter(|op| op.f == F::Read) {
        let Some(returned_ns) = op.returned_ns else { continue };
        for (session, state) in read(op) {
            let (Some(life), Some(version)) = (index.life(session, state), version(state)) else {
                continue;
            };
            let own = |version: u64| {
                life.update(version)
                    .is_some_and(|update| word(&update.cause, "reason") != "command")
            };
            let commanded = (1..=version).rev().find(|version| !own(*version)).unwrap_or(1);
            let Some(saw) = life.update(commanded).map(|update| update.revision) else { continue };
            let next = life.update(version + 1).map(|update| update.revision).or(life.ended);
            placed.push(Placed {
                saw,
                before: next.unwrap_or(u64::MAX),
                changes: false,
                invoked_ns: op.invoked_ns,
                returned_ns,
                op: op.index,
                session: session.to_owned(),
                version,
            });
        }
    }
}
