//! Which changes nobody's command explains: each change was made by one command, and each command
//! made one at most.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    check::{
        act::Act,
        state::{born, version, word},
    },
    history::{
        op::F,
        pair::{Op, Outcome},
        tape::Update,
    },
    test::run::Run,
};

/// How often the requests under one idempotency key may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) enum PerKey {
    /// Once each time it was sent.
    EachTime,
    Once,
}

/// The command that a change is the effect of; `None` of what the clock or the cluster did.
pub(in crate::check) fn command_of(update: &Update) -> Option<F> {
    if word(&update.cause, "reason") != "command" {
        return None;
    }
    Some(match word(&update.cause, "type") {
        "created" => F::Create,
        "started" => F::Start,
        "switched" => F::Switch,
        "paused" => F::Pause,
        "resumed" => F::Resume,
        "completed" => F::Complete,
        "deleted" => F::Delete,
        _ => return None,
    })
}

/// Kinds of the answers that the state machine itself gives, and that it keeps under a key.
const KEPT: [&str; 7] = [
    "SESSION_NOT_FOUND",
    "SESSION_EXISTS",
    "INVALID_SESSION_STATE",
    "PARTICIPANT_EXPIRED",
    "PARTICIPANT_NOT_FOUND",
    "CONCURRENT_MODIFICATION",
    "CAPACITY_EXCEEDED",
];

/// Is this refusal the answer that every repeat gets?
pub(in crate::check) fn is_kept(op: &Op) -> bool {
    match &op.outcome {
        Outcome::Fail { status: Some(_), error } => KEPT.contains(&error.kind.as_str()),
        Outcome::Fail { status: None, .. } | Outcome::Ok { .. } | Outcome::Info { .. } => false,
    }
}

/// Keys whose first answer was a refusal: nothing under them ever takes effect.
pub(in crate::check) fn refused_keys(run: &Run) -> BTreeSet<&str> {
    run.ops.iter().filter(|op| is_kept(op)).filter_map(|op| op.idem.as_deref()).collect()
}

/// The changes of one session that are no effect of any of `acts`, however they are shared out.
pub(in crate::check) fn unexplained<'a>(
    updates: &'a [Update],
    acts: &[Act<'a>],
    (per_key, refused): (PerKey, &BTreeSet<&str>),
) -> Vec<&'a Update> {
    let makers = makers(acts, per_key, refused);
    let mut changes = Vec::new();
    let mut choices = Vec::new();
    for update in updates {
        let Some(f) = command_of(update) else { continue };
        let can = |(_, maker): &(usize, &Vec<Act<'_>>)| may_have_made(maker, f, update);
        let able = makers.iter().enumerate().filter(can).map(|(position, _)| position);
        choices.push(able.collect::<Vec<usize>>());
        changes.push(update);
    }
    let mut sharing = Sharing { choices: &choices, made: vec![None; makers.len()] };
    let mut left = Vec::new();
    for (position, change) in changes.into_iter().enumerate() {
        let mut tried = vec![false; makers.len()];
        if !sharing.find(position, &mut tried) {
            left.push(change);
        }
    }
    left
}

/// Acts that have one effect between them.
fn makers<'a>(acts: &[Act<'a>], per_key: PerKey, refused: &BTreeSet<&str>) -> Vec<Vec<Act<'a>>> {
    let mut makers: Vec<Vec<Act<'a>>> = Vec::new();
    let mut of_key: BTreeMap<(&str, F, usize), usize> = BTreeMap::new();
    let mut last = None;
    let mut place = 0;
    for act in acts {
        // The commands of a batch come one after the other.
        place = if last == Some(act.op.index) { place + 1 } else { 0 };
        last = Some(act.op.index);
        let key = act.op.idem.as_deref().filter(|_| per_key == PerKey::Once);
        let Some(key) = key else {
            makers.push(vec![*act]);
            continue;
        };
        if refused.contains(key) && !act.is_certain() {
            continue;
        }
        let maker = *of_key.entry((key, act.f, place)).or_insert(makers.len());
        if maker == makers.len() {
            makers.push(Vec::new());
        }
        makers[maker].push(*act);
    }
    makers
}

/// An answer says which change it was; without one any change will do that was asked for.
fn may_have_made(maker: &[Act<'_>], f: F, update: &Update) -> bool {
    let certain = maker.iter().any(Act::is_certain);
    maker.iter().filter(|act| act.is_certain() == certain).any(|act| {
        act.f == f
            && act.from_ns <= update.seen_ns
            && act.answer.map_or_else(|| is_asked(act, update), |answer| is_told(answer, update))
    })
}

/// Is the answer, as far as it goes, that of the command which made this change?
pub(super) fn is_told(answer: &Value, update: &Update) -> bool {
    let Some(state) = &update.state else { return answer.is_null() };
    let same_life = born(answer).is_none() || born(answer) == born(state);
    version(answer) == Some(update.version) && same_life
}

fn is_asked(act: &Act<'_>, update: &Update) -> bool {
    let asked = |field: &str| act.request.get(field).and_then(Value::as_str);
    let agrees =
        |field, of_cause| asked(field).is_none_or(|id| id == word(&update.cause, of_cause));
    let follows = match act.request.get("expected_version").and_then(Value::as_u64) {
        Some(expected) if update.state.is_some() => expected + 1 == update.version,
        Some(_) | None => true,
    };
    follows
        && (act.f != F::Switch
            || agrees("next_participant_id", "to_participant_id")
                && agrees("current_participant_id", "from_participant_id"))
}

/// A matching of changes and makers, made larger one change at a time.
struct Sharing<'c> {
    choices: &'c [Vec<usize>],
    /// What each maker made.
    made: Vec<Option<usize>>,
}

impl Sharing<'_> {
    fn find(&mut self, change: usize, tried: &mut [bool]) -> bool {
        let choices = self.choices;
        for &maker in &choices[change] {
            if std::mem::replace(&mut tried[maker], true) {
                continue;
            }
            let is_free = match self.made[maker] {
                None => true,
                Some(other) => self.find(other, tried),
            };
            if is_free {
                self.made[maker] = Some(change);
                return true;
            }
        }
        false
    }
}
