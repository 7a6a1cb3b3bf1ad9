//! What subscribers tell of operations whose outcome nobody was told.
//!
//! A version on the tape that a command made, and that no answer has, was made by an operation of
//! unknown outcome: it must take effect before the first subscriber hears of it. And where the tape
//! has every version, and the session's end is known, the others took no effect.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    model::{Action, Call, Seen},
    search::{Entry, Task},
    task::seen,
};
use crate::{
    check::{act::Act, effects::explain::command_of, state::version},
    history::{op::F, tape::Update},
    test::run::Run,
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patched {
    pub(crate) task: Task,
    /// Open operations that got an end.
    pub(crate) closed: u64,
    /// Open operations that took no effect.
    pub(crate) dropped: u64,
}

/// `None` where nothing is unknown, or the tape says nothing about it.
pub(crate) fn patch(
    run: &Run,
    session: &str,
    (updates, acts): (&[Update], &[Act<'_>]),
    task: &Task,
) -> Option<Patched> {
    let is_open = |entry: &&Entry| entry.until_ns.is_none();
    let unread = |entry: &&Entry| {
        entry.until_ns.is_some()
            && entry.call.seen.is_none()
            && entry.call.action != Action::Delete
            && !entry.call.only_looks()
    };
    let has_open = task.entries.iter().any(|entry| is_open(&entry));
    if !has_open || !task.spec.lives_once || task.entries.iter().any(|entry| unread(&entry)) {
        return None;
    }
    let mut task = task.clone();
    let told = told(updates, &mut task);
    let gone = gone(updates, acts);
    let closed = u64::try_from(told.len() + gone.iter().count()).unwrap_or(u64::MAX);
    let before = task.entries.len();
    if is_all_told(run, session, updates, &task) {
        task.entries.retain(|entry| entry.until_ns.is_some());
    }
    let dropped = before - task.entries.len();
    let dropped = u64::try_from(dropped).unwrap_or(u64::MAX).saturating_sub(closed);
    task.entries.extend(told);
    task.entries.extend(gone);
    Some(Patched { task, closed, dropped })
}

/// The operations that made versions which only subscribers tell of.
fn told(updates: &[Update], task: &mut Task) -> Vec<Entry> {
    let answered: Vec<u64> = task
        .entries
        .iter()
        .filter(|entry| !entry.call.only_looks() && entry.call.action != Action::Own)
        .filter_map(|entry| entry.call.seen.map(|seen| seen.version))
        .collect();
    let mut unclaimed: BTreeMap<F, Vec<(&Update, Seen)>> = BTreeMap::new();
    for update in updates {
        let (Some(f), Some(state)) = (asked_for(update), &update.state) else { continue };
        let Some(seen) = seen(state, &mut task.spec) else { continue };
        if !answered.contains(&seen.version) {
            unclaimed.entry(f).or_default().push((update, seen));
        }
    }
    let mut entries = Vec::new();
    for (f, mut updates) in unclaimed {
        updates.sort_by_key(|(update, _)| update.seen_ns);
        let is_it =
            |entry: &&Entry| entry.until_ns.is_none() && command(&entry.call.action) == Some(f);
        let mut open: Vec<&Entry> = task.entries.iter().filter(is_it).collect();
        open.sort_by_key(|entry| entry.from_ns);
        for (taken, (update, seen)) in updates.into_iter().enumerate() {
            let earlier = || open.iter().filter(|entry| entry.from_ns <= update.seen_ns);
            // Nobody is left who can have asked for it: then nothing explains the version.
            if earlier().count() <= taken {
                continue;
            }
            let (from_ns, until_ns) = (open[0].from_ns, Some(update.seen_ns));
            let only = if open.len() == 1 { Some(open[0]) } else { None };
            let call = only.map_or_else(|| Call::of(Action::Told(f)), |one| one.call.clone());
            let ops = only.map_or_else(Vec::new, |one| one.ops.clone());
            entries.push(Entry { call: call.seeing(Some(seen)), from_ns, until_ns, ops });
        }
    }
    entries
}

/// A deletion that subscribers tell of, where somebody asked for one.
fn gone(updates: &[Update], acts: &[Act<'_>]) -> Option<Entry> {
    let deleted = updates.last().filter(|update| update.state.is_none())?;
    let asked = acts.iter().filter(|act| act.f == F::Delete).map(|act| act.from_ns).min()?;
    let call = Call::of(Action::Gone);
    let until_ns = Some(deleted.seen_ns);
    (asked <= deleted.seen_ns).then(|| Entry { call, from_ns: asked, until_ns, ops: Vec::new() })
}

/// Does the tape have every version that anything could have made before the end?
fn is_all_told(run: &Run, session: &str, updates: &[Update], task: &Task) -> bool {
    let Some(last) = updates.last() else { return false };
    let in_order = (1..).zip(updates).all(|(version, update)| update.version == version);
    let living = if last.state.is_some() { last.version } else { last.version.saturating_sub(1) };
    let mut ends = run.ending.nodes.iter().map(|node| node.sessions.get(session));
    let is_end = ends.all(|end| match &last.state {
        Some(_) => end.and_then(version) == Some(living),
        None => end.is_some_and(Value::is_null),
    });
    in_order && task.version_shown() <= living && is_end && !run.ending.nodes.is_empty()
}

/// The command that an update is due to. A deletion is no version.
fn asked_for(update: &Update) -> Option<F> {
    command_of(update).filter(|f| *f != F::Delete)
}

const fn command(action: &Action) -> Option<F> {
    match action {
        Action::Create => Some(F::Create),
        Action::Start => Some(F::Start),
        Action::Switch { .. } => Some(F::Switch),
        Action::Pause => Some(F::Pause),
        Action::Resume => Some(F::Resume),
        Action::Complete => Some(F::Complete),
        Action::Delete => Some(F::Delete),
        Action::Told(_)
        | Action::Gone
        | Action::Own
        | Action::Read
        | Action::Missing
        | Action::Exists
        | Action::Refused { .. }
        | Action::Conflict { .. }
        | Action::NotCurrent { .. } => None,
    }
}
