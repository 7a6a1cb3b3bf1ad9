//! Who made which change: a command that was answered made the version that it was told; one whose
//! fate is unknown made one at most.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Change;
use crate::check::{
    act::Act,
    state::{born, version},
};

/// The commands on one session that took effect, or may have. Repeats under a key are one.
pub(super) struct Asked<'a> {
    commands: Vec<Vec<Act<'a>>>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(acts: &[Act<'a>]) -> Self {
        let mut commands: Vec<Vec<Act<'a>>> = Vec::new();
        let mut known: BTreeMap<(String, usize), usize> = BTreeMap::new();
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for act in acts {
            // Commands of one batch on one session are told apart by their place in it.
            let place = places.entry(act.op.index).or_default();
            let number = |index: u64| format!("#{index}");
            let name = act.op.idem.clone().unwrap_or_else(|| number(act.op.index));
            let next = commands.len();
            let at = *known.entry((name, *place)).or_insert(next);
            *place += 1;
            if at == next {
                commands.push(Vec::new());
            }
            commands[at].push(*act);
        }
        Self { commands }
    }

    pub(super) const fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn op(&self, command: usize) -> u64 {
        self.commands[command].first().map_or(0, |act| act.op.index)
    }

    pub(super) fn is_one_request(&self, one: usize, other: usize) -> bool {
        let op = |command: usize| {
            self.commands[command].iter().map(|act| act.op.index).collect::<Vec<_>>()
        };
        op(one).iter().any(|index| op(other).contains(index))
    }

    pub(super) fn names_a_version(&self, command: usize) -> bool {
        self.commands[command].iter().any(|act| act.request["expected_version"].is_u64())
    }

    /// The version that it was told, with the session's birth where that was told, too.
    fn told(&self, command: usize) -> Option<(Option<&'a str>, u64)> {
        self.commands[command].iter().find_map(|act| {
            let answer = act.answer?;
            Some((born(answer), version(answer)?))
        })
    }

    fn is_answered(&self, command: usize) -> bool {
        self.commands[command].iter().any(Act::is_certain)
    }

    fn may_have_made(&self, command: usize, change: &Change<'_>) -> bool {
        self.commands[command].iter().any(|act| {
            act.f == change.f && act.from_ns <= change.update.seen_ns && fits(act.request, change)
        })
    }
}

/// May this body have made this change?
fn fits(request: &Value, change: &Change<'_>) -> bool {
    let text = |field: &str| request[field].as_str();
    let state = change.update.state.as_ref();
    let expected = request["expected_version"].as_u64();
    let version = expected.is_none_or(|expected| expected + 1 == change.update.version);
    let became = state.and_then(|state| state["active_participant_id"].as_str());
    let next = text("next_participant_id").is_none_or(|next| Some(next) == became);
    let was =
        change.before.and_then(|before| before.state.as_ref()?["active_participant_id"].as_str());
    let current =
        text("current_participant_id").is_none_or(|current| was.is_none_or(|was| was == current));
    version && next && current
}

/// The commands that made the changes of one session.
pub(super) struct Owners {
    /// For each change, the command.
    pub(super) of: Vec<Option<usize>>,
    /// Changes that no command can have made.
    pub(super) unexplained: Vec<usize>,
}

impl Owners {
    pub(super) fn find(asked: &Asked<'_>, changes: &[Change<'_>]) -> Self {
        let mut of: Vec<Option<usize>> = vec![None; changes.len()];
        for command in 0..asked.len() {
            let Some((birth, version)) = asked.told(command) else { continue };
            let is_it = |change: &Change<'_>| {
                change.update.version == version && birth.is_none_or(|birth| birth == change.birth)
            };
            let place =
                (0..changes.len()).find(|place| is_it(&changes[*place]) && of[*place].is_none());
            if let Some(place) = place {
                of[place] = Some(command);
            }
        }
        let mut matching = Matching { asked, changes, of, makes: BTreeMap::new() };
        let open: Vec<usize> =
            (0..changes.len()).filter(|place| matching.of[*place].is_none()).collect();
        let mut unexplained = Vec::new();
        for place in open {
            if !matching.give(place, &mut vec![false; asked.len()]) {
                unexplained.push(place);
            }
        }
        Self { of: matching.of, unexplained }
    }
}

/// Gives every change that is left a command of its own among those whose fate is unknown
/// (Kuhn's augmenting paths).
struct Matching<'a, 'b> {
    asked: &'a Asked<'b>,
    changes: &'a [Change<'b>],
    of: Vec<Option<usize>>,
    makes: BTreeMap<usize, usize>,
}

impl Matching<'_, '_> {
    fn give(&mut self, place: usize, tried: &mut Vec<bool>) -> bool {
        for command in 0..self.asked.len() {
            let is_candidate = !tried[command]
                && !self.asked.is_answered(command)
                && self.asked.may_have_made(command, &self.changes[place]);
            if !is_candidate {
                continue;
            }
            tried[command] = true;
            let held = self.makes.get(&command).copied();
            if held.is_none_or(|held| self.give(held, tried)) {
                self.makes.insert(command, place);
                self.of[place] = Some(command);
                return true;
            }
        }
        false
    }
}
