//! Promise P9: what was answered as having had no effect had none, and nothing has an effect
//! twice. Every change that subscribers were told of is somebody's who may have made it.

mod owners;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{
    act::Acts,
    state::{born, word},
    verdict::{Anomaly, Verdict},
};
use crate::{
    history::{op::F, tape::Update},
    test::run::Run,
};
use owners::{Asked, Owners};

/// A change by a command, with the life of the session that it is of.
#[derive(Clone, Copy)]
struct Change<'a> {
    update: &'a Update,
    f: F,
    birth: &'a str,
    /// Of the version before.
    before: Option<&'a Update>,
}

pub fn check(run: &Run) -> Verdict {
    let acts = Acts::of(run);
    let mut anomalies = Vec::new();
    let (mut explained, mut commands) = (0_usize, 0_usize);
    for (session, updates) in &run.tape.sessions {
        let asked = Asked::of(acts.on(session));
        commands += asked.len();
        let changes = changes(updates);
        let owners = Owners::find(&asked, &changes);
        explained += changes.len() - owners.unexplained.len();
        for place in &owners.unexplained {
            anomalies.push(nobodys(session, &changes[*place]));
        }
        anomalies.extend(overlapping(session, &changes, &asked, &owners));
        anomalies.extend(deleted_by_nobody(session, updates, &acts));
    }
    let verdict = Verdict::of("effects", anomalies)
        .with("commands", commands)
        .with("changes_explained", explained);
    if run.tape.sessions.is_empty() {
        return verdict.unknown("no subscriber was told of any change");
    }
    verdict
}

fn f_of(update: &Update) -> Option<F> {
    if word(&update.cause, "reason") != "command" {
        return None;
    }
    match word(&update.cause, "type") {
        "started" => Some(F::Start),
        "switched" => Some(F::Switch),
        "paused" => Some(F::Pause),
        "resumed" => Some(F::Resume),
        "completed" => Some(F::Complete),
        // A create may be repeated without a key and without an effect: replay looks at those.
        _ => None,
    }
}

fn changes(updates: &[Update]) -> Vec<Change<'_>> {
    let mut changes = Vec::new();
    for (place, update) in updates.iter().enumerate() {
        let (Some(f), Some(birth)) = (f_of(update), update.state.as_ref().and_then(born)) else {
            continue;
        };
        let before = place.checked_sub(1).and_then(|before| updates.get(before));
        let is_next =
            |before: &&Update| before.state.is_some() && before.version + 1 == update.version;
        changes.push(Change { update, f, birth, before: before.filter(is_next) });
    }
    changes
}

fn nobodys(session: &str, change: &Change<'_>) -> Anomaly {
    let update = change.update;
    let what = format!(
        "a {} took effect that nobody can have made: all who asked for one were told that theirs had \
         no effect, or which other version is theirs, or may have had one effect only",
        change.f.as_str()
    );
    Anomaly::new(what).session(session).at(update.revision, update.version).time(update.seen_ns)
}

/// A command that names no version goes with the one that its leader saw when it came. Two in one
/// entry of the log came before either took effect: the second one must have been refused.
fn overlapping(
    session: &str,
    changes: &[Change<'_>],
    asked: &Asked<'_>,
    owners: &Owners,
) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    for (place, change) in changes.iter().enumerate() {
        let revision = change.update.revision;
        let (Some(first), Some(owner)) = (last.insert(revision, place), owners.of[place]) else {
            continue;
        };
        let Some(other) = owners.of[first] else { continue };
        if asked.is_one_request(owner, other) || asked.names_a_version(owner) {
            continue;
        }
        let what = format!(
            "two commands that both were under way before either took effect, at revision {revision}, \
             made versions {} and {}, though the second one named no version",
            changes[first].update.version, change.update.version
        );
        let anomaly = Anomaly::new(what).session(session).time(change.update.seen_ns);
        let ops = [asked.op(other), asked.op(owner)];
        anomalies.push(anomaly.at(revision, change.update.version).ops(ops));
    }
    anomalies
}

fn deleted_by_nobody(session: &str, updates: &[Update], acts: &Acts<'_>) -> Option<Anomaly> {
    let gone = updates.iter().find(|update| {
        let by_command = update.state.is_none() && word(&update.cause, "reason") != "auto";
        by_command && acts.deletes(session).iter().all(|act| update.seen_ns < act.from_ns)
    })?;
    let what = "the session was deleted, and nobody who may have had an effect asked for that";
    Some(Anomaly::new(what).session(session).at(gone.revision, gone.version).time(gone.seen_ns))
}
