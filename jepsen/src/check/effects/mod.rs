//! Promise P9: what is refused says why, truly, and whether it may have taken effect; and what is
//! said to have had no effect never has one.

mod conflicts;
pub(super) mod explain;
mod refusals;
mod table;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeSet;

use self::explain::{PerKey, command_of, unexplained};
use super::{
    act::Acts,
    verdict::{Anomaly, Verdict},
};
use crate::{
    history::{
        op::F,
        pair::{Op, Outcome},
        tape::Update,
    },
    test::run::Run,
};

/// Refused commands that are named with a change that nobody's command explains.
const SUSPECTS_MAX: usize = 8;

pub fn check(run: &Run) -> Verdict {
    let acts = Acts::of(run);
    let mut anomalies: Vec<Anomaly> = run.ops.iter().filter_map(table::misfit).collect();
    let mut changes = 0;
    let nobody = BTreeSet::new();
    for (session, updates) in &run.tape.sessions {
        changes += updates.iter().filter(|update| command_of(update).is_some()).count();
        let left = unexplained(updates, acts.on(session), (PerKey::EachTime, &nobody));
        anomalies.extend(left.into_iter().map(|update| uncalled_for(run, update)));
    }
    let refusals = refusals::judge(run, &acts);
    anomalies.extend(refusals.anomalies);
    anomalies.extend(conflicts::judge(run, &acts));
    anomalies.extend(at_the_end(run, &acts));
    let failed = |op: &&Op| op.f.writes() && matches!(op.outcome, Outcome::Fail { .. });
    let verdict = Verdict::of("effects", anomalies)
        .with("without_effect", run.ops.iter().filter(failed).count())
        .with("refusals", refusals.count)
        .with("changes", changes);
    if changes == 0 && acts.iter().next().is_some() {
        return verdict.unknown("no subscriber was told of any change");
    }
    verdict
}

/// A change that no command explains.
fn uncalled_for(run: &Run, update: &Update) -> Anomaly {
    let word = command_of(update).map_or("change", F::as_str);
    let mut suspects = refused(run, update);
    let what = if suspects.is_empty() {
        format!("a {word} took effect, and nobody asked for it, or not so often")
    } else {
        format!("a {word} took effect that must be one of those said to have had no effect")
    };
    suspects.truncate(SUSPECTS_MAX);
    let anomaly = Anomaly::new(what).session(&update.session).ops(suspects);
    anomaly.at(update.revision, update.version).time(update.seen_ns)
}

/// Commands that were said to have no effect, and that were sent before the update was seen; the
/// latest first.
fn refused(run: &Run, update: &Update) -> Vec<u64> {
    let word = command_of(update).map_or("", F::as_str);
    let is_it = |op: &&Op| {
        let single = op.f.as_str() == word && op.key.as_ref() == Some(&update.session);
        let batch = op.f == F::Batch
            && op.request["commands"].as_array().into_iter().flatten().any(|command| {
                command["action"] == word && command["session_id"] == update.session.as_str()
            });
        (single || batch)
            && matches!(op.outcome, Outcome::Fail { .. })
            && op.invoked_ns <= update.seen_ns
    };
    run.ops.iter().rev().filter(is_it).map(|op| op.index).collect()
}

/// Creates and deletes without effect, of sessions that nobody else can have made or deleted.
fn at_the_end(run: &Run, acts: &Acts<'_>) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let mut told = BTreeSet::new();
    for op in &run.ops {
        let (Outcome::Fail { .. }, Some(session)) = (&op.outcome, &op.key) else { continue };
        // What is on the tape was judged there.
        let is_on_tape = |f| {
            let updates = run.tape.sessions.get(session).into_iter().flatten();
            updates.into_iter().any(|update| command_of(update) == Some(f))
        };
        let by_somebody = |f| acts.on(session).iter().any(|act| act.f == f) || is_on_tape(f);
        let mut ends =
            run.ending.nodes.iter().filter_map(|node| Some((node, node.sessions.get(session)?)));
        let (node, what) = match op.f {
            F::Create if !by_somebody(F::Create) => {
                let made = ends.find(|(_, end)| !end.is_null());
                (made, "nobody but refused creates can have made the session, and it is there")
            }
            F::Delete if !by_somebody(F::Delete) && was_there(run, acts, session) => {
                let gone = ends.find(|(_, end)| end.is_null());
                (gone, "nobody but refused deletes can have ended the session, and it is gone")
            }
            F::Create
            | F::Delete
            | F::Start
            | F::Switch
            | F::Pause
            | F::Resume
            | F::Complete
            | F::Read
            | F::StaleRead
            | F::List
            | F::Batch
            | F::Time => continue,
        };
        if let Some((node, _)) = node
            && told.insert((op.f.as_str(), session))
        {
            anomalies.push(Anomaly::new(what).session(session).node(&node.name).ops([op.index]));
        }
    }
    anomalies
}

fn was_there(run: &Run, acts: &Acts<'_>, session: &str) -> bool {
    let updates = run.tape.sessions.get(session).into_iter().flatten();
    acts.on(session).iter().any(|act| act.is_certain() && act.f == F::Create)
        || updates.into_iter().any(|update| update.state.is_some())
}
