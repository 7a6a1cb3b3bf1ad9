//! The search against one that has no short cuts, on small histories of all kinds.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    model::{Action, Call, Seen, Spec, State, Status},
    search::{Answer, Entry, Task, search},
};
use crate::history::op::F;

/// Tries every order.
fn is_legal(task: &Task, placed: &mut Vec<bool>, state: State) -> bool {
    let left: Vec<usize> = (0..placed.len()).filter(|place| !placed[*place]).collect();
    let must = |place: &&usize| task.entries[**place].until_ns.is_some();
    let Some(limit) = left.iter().filter(must).filter_map(|at| task.entries[*at].until_ns).min()
    else {
        return true;
    };
    for place in left {
        let entry = &task.entries[place];
        if limit < entry.from_ns {
            continue;
        }
        placed[place] = true;
        let after = task.spec.step(state, &entry.call);
        let is_so = after.into_iter().any(|state| is_legal(task, placed, state));
        placed[place] = false;
        if is_so {
            return true;
        }
    }
    task.spec.unseen(state).into_iter().any(|life| is_legal(task, placed, Some(life)))
}

fn call(random: &mut ChaCha8Rng) -> Call {
    let version = random.random_range(1..=4);
    let status = [Status::Pending, Status::Running, Status::Running, Status::Paused];
    let status = *status.choose(random).unwrap();
    let active = (status != Status::Pending).then_some(random.random_range(0..2));
    let seen = Some(Seen { version, status, active });
    let next = random.random_bool(0.3).then_some(random.random_range(0..2));
    let (action, shows) = match random.random_range(1..14_u8) {
        1 => (Action::Create, random.random_bool(0.3)),
        2 | 3 => (Action::Start, random.random_bool(0.3)),
        4..=6 => (Action::Switch { current: None, next }, random.random_bool(0.3)),
        7 => (Action::Pause, random.random_bool(0.3)),
        8 => (Action::Resume, random.random_bool(0.3)),
        9 => (Action::Delete, false),
        10 => (Action::Missing, false),
        11 => (Action::Refused { f: F::Switch, status }, false),
        12 => (Action::Conflict { wanted: version, actual: random.random_range(1..=4) }, false),
        _ => (Action::Read, true),
    };
    let expected = random.random_bool(0.15).then_some(version.saturating_sub(1).max(1));
    Call { action, expected, seen: seen.filter(|_| shows) }
}

fn task(random: &mut ChaCha8Rng) -> Task {
    let count = random.random_range(1..=6);
    let mut entries: Vec<Entry> = (0..count)
        .map(|number| {
            let call = call(random);
            let from_ns = random.random_range(0..14);
            let is_open = !call.only_looks() && call.seen.is_none() && random.random_bool(0.5);
            let until_ns = (!is_open).then_some(from_ns + random.random_range(1..16));
            Entry { call, from_ns, until_ns, ops: vec![number] }
        })
        .collect();
    // Most begin as sessions do, or little is legal.
    if random.random_bool(0.9) {
        let born = Call::of(Action::Create);
        entries.push(Entry { call: born, from_ns: 0, until_ns: Some(1), ops: vec![count] });
        let start = Call::of(Action::Start);
        entries.push(Entry { call: start, from_ns: 0, until_ns: Some(3), ops: vec![count + 1] });
    }
    let creates = entries.iter().filter(|entry| entry.call.action == Action::Create).count();
    let mut spec = Spec {
        in_order: true,
        first: Some(0),
        falls_due: random.random_bool(0.3),
        lives_once: creates <= 1,
        version_max: 4,
        ..Spec::default()
    };
    spec.seat("p0");
    spec.seat("p1");
    Task { spec, entries }
}

#[test]
fn short_cuts_change_no_answer() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut legal = 0;
    for number in 0..3_000 {
        let task = task(&mut random);
        let found = search(&task, u64::MAX);
        let is_so = is_legal(&task, &mut vec![false; task.entries.len()], None);
        let expected = if is_so { Answer::Legal } else { Answer::Illegal };
        assert_eq!(found.answer, expected, "history {number}: {task:#?}");
        legal += u32::from(is_so);
    }
    assert!((300..2_700).contains(&legal), "{legal} are legal");
}

#[test]
fn a_budget_is_kept() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let task = std::iter::repeat_with(|| task(&mut random))
        .find(|task| 10 < search(task, u64::MAX).explored)
        .unwrap();
    let found = search(&task, 2);
    assert_eq!((found.answer, found.explored), (Answer::OutOfBudget, 2));
}
