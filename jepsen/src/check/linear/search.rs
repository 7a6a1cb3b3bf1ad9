//! Wing and Gong's search with Lowe's cache: is there an order of the operations, each at some
//! moment between its invocation and its answer, in which a single session would answer alike?
//!
//! Three things keep it small, and none of them loses an order. What only looks is placed as soon
//! as it fits. Of open operations that ask for the same, the oldest is placed first. And versions
//! never go back while a session is there, so whoever waits for an old one waits in vain.

use std::collections::{BTreeMap, HashSet};

use super::model::{Action, Call, Spec, State};

/// An operation on one session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) call: Call,
    /// It took effect no earlier.
    pub(crate) from_ns: u64,
    /// Nor later; `None` where it may have taken effect at any time or never.
    pub(crate) until_ns: Option<u64>,
    /// Indices of the invocations that it stands for; none for what the clock did.
    pub(crate) ops: Vec<u64>,
}

/// The operations on one session, and what is fixed about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Task {
    pub(crate) spec: Spec,
    pub(crate) entries: Vec<Entry>,
}

impl Task {
    /// The highest version that anybody was shown.
    pub(crate) fn version_shown(&self) -> u64 {
        let shown = |entry: &Entry| match entry.call.action {
            Action::Conflict { actual, .. } => Some(actual),
            Action::Create
            | Action::Start
            | Action::Switch { .. }
            | Action::Pause
            | Action::Resume
            | Action::Complete
            | Action::Delete
            | Action::Told(_)
            | Action::Gone
            | Action::Own
            | Action::Read
            | Action::Missing
            | Action::Exists
            | Action::Refused { .. }
            | Action::NotCurrent { .. } => entry.call.seen.map(|seen| seen.version),
        };
        self.entries.iter().filter_map(shown).max().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Legal,
    Illegal,
    /// The budget was used up.
    OutOfBudget,
}

/// An entry that was placed, or `None` where the clock changed the session unseen.
pub(crate) type Placed = (Option<usize>, State);

#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) answer: Answer,
    /// Configurations that were looked at.
    pub(crate) explored: u64,
    /// The order that goes furthest, with the state after each.
    pub(crate) order: Vec<Placed>,
    /// Entries that must come next there and cannot, the most urgent one first.
    pub(crate) stuck: Vec<usize>,
}

/// Looks at `budget` configurations at most.
pub(crate) fn search(task: &Task, budget: u64) -> Found {
    let mut search = Search::new(task);
    let mut explored = 0;
    let mut seen: HashSet<Key> = HashSet::new();
    let mut stack = vec![Config::first(task)];
    let mut answer = Answer::Illegal;
    while let Some(mut config) = stack.pop() {
        if explored == budget {
            answer = Answer::OutOfBudget;
            break;
        }
        explored += 1;
        let next = search.settle(&mut config);
        search.note(&config, &next);
        if next.entries.is_empty() {
            answer = Answer::Legal;
            break;
        }
        if !search.is_hopeless(&config, &next) && seen.insert(search.key(&config)) {
            search.branch(&config, &next, &mut stack);
        }
    }
    let (order, stuck) = search.furthest();
    Found { answer, explored, order, stuck }
}

/// A set of entries that are placed, and the state after them.
#[derive(Clone)]
struct Config {
    /// A bit for each entry that must be placed, in the order of their ends.
    done: Vec<u64>,
    placed: usize,
    /// All before this place of [`Search::by_from`] are placed.
    low: usize,
    /// Of each class of open entries that has any, how many are placed.
    used: BTreeMap<usize, usize>,
    state: State,
    /// Where the order so far ends in the trail.
    trail: Option<usize>,
}

impl Config {
    fn first(task: &Task) -> Self {
        let done = vec![0; task.entries.len().div_ceil(64)];
        Self { done, placed: 0, low: 0, used: BTreeMap::new(), state: None, trail: None }
    }

    fn is_done(&self, bit: usize) -> bool {
        self.done[bit / 64] & (1 << (bit % 64)) != 0
    }
}

/// What tells two configurations apart: all before `first` words are placed, all after `done` not.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    first: usize,
    done: Box<[u64]>,
    used: Box<[(usize, usize)]>,
    state: State,
}

/// Entries of which one must come next.
struct Next {
    /// Those that must be placed some time, by their ends.
    entries: Vec<usize>,
    /// The first end among them: nothing that began later comes before it.
    limit_ns: u64,
}

struct Search<'a> {
    task: &'a Task,
    /// Entries that must be placed, by their beginnings.
    by_from: Vec<usize>,
    /// Those of them that may begin long before they are looked at: they are not in `by_from`.
    floating: Vec<usize>,
    /// The bit of each entry.
    bits: Vec<usize>,
    /// Open entries that ask for the same, the oldest first.
    classes: Vec<Vec<usize>>,
    /// Every step of every order that was tried, with the one before it.
    trail: Vec<(Option<usize>, Placed)>,
    furthest: Option<(u64, usize, Option<usize>, Vec<usize>)>,
}

impl<'a> Search<'a> {
    fn new(task: &'a Task) -> Self {
        let entries = &task.entries;
        let is_closed = |place: &usize| entries[*place].until_ns.is_some();
        let mut by_end: Vec<usize> = (0..entries.len()).filter(is_closed).collect();
        by_end.sort_by_key(|place| entries[*place].until_ns);
        let mut bits = vec![0; entries.len()];
        for (bit, place) in by_end.iter().enumerate() {
            bits[*place] = bit;
        }
        let is_floating = |place: &usize| entries[*place].ops.is_empty();
        let (floating, mut by_from): (Vec<usize>, Vec<usize>) =
            by_end.into_iter().partition(is_floating);
        by_from.sort_by_key(|place| entries[*place].from_ns);
        let mut classes: BTreeMap<&Call, Vec<usize>> = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            if entry.until_ns.is_none() {
                classes.entry(&entry.call).or_default().push(place);
            }
        }
        let mut classes: Vec<Vec<usize>> = classes.into_values().collect();
        for class in &mut classes {
            class.sort_by_key(|place| entries[*place].from_ns);
        }
        let (trail, furthest) = (Vec::new(), None);
        Self { task, by_from, floating, bits, classes, trail, furthest }
    }

    /// Places everything that only looks and fits, and tells what is left to come next.
    fn settle(&mut self, config: &mut Config) -> Next {
        let task = self.task;
        loop {
            let next = self.next(config);
            let fits = |place: &&usize| {
                let call = &task.entries[**place].call;
                call.only_looks() && !task.spec.step(config.state, call).is_empty()
            };
            let fitting: Vec<usize> = next.entries.iter().filter(fits).copied().collect();
            if fitting.is_empty() {
                return next;
            }
            for place in fitting {
                self.place(config, place);
                config.trail = Some(self.tread(config.trail, (Some(place), config.state)));
            }
        }
    }

    fn next(&self, config: &mut Config) -> Next {
        let entries = &self.task.entries;
        while let Some(place) = self.by_from.get(config.low)
            && config.is_done(self.bits[*place])
        {
            config.low += 1;
        }
        let mut next = Next { entries: Vec::new(), limit_ns: u64::MAX };
        let until = |place: usize| entries[place].until_ns.unwrap_or(u64::MAX);
        for place in self.floating.iter().filter(|place| !config.is_done(self.bits[**place])) {
            next.entries.push(*place);
            next.limit_ns = next.limit_ns.min(until(*place));
        }
        for place in &self.by_from[config.low..] {
            if next.limit_ns < entries[*place].from_ns {
                break;
            }
            if !config.is_done(self.bits[*place]) {
                next.entries.push(*place);
                next.limit_ns = next.limit_ns.min(until(*place));
            }
        }
        let limit_ns = next.limit_ns;
        next.entries.retain(|place| entries[*place].from_ns <= limit_ns);
        next.entries.sort_by_key(|place| (until(*place), *place));
        next
    }

    fn place(&self, config: &mut Config, place: usize) {
        let bit = self.bits[place];
        config.done[bit / 64] |= 1 << (bit % 64);
        config.placed += 1;
    }

    fn tread(&mut self, from: Option<usize>, placed: Placed) -> usize {
        self.trail.push((from, placed));
        self.trail.len() - 1
    }

    /// Does somebody who must come soon need a version that is gone for good?
    fn is_hopeless(&self, config: &Config, next: &Next) -> bool {
        let Some(life) = config.state.filter(|_| self.task.spec.lives_once) else { return false };
        next.entries.iter().any(|place| {
            let before = self.task.entries[*place].call.version_before();
            before.is_some_and(|version| version < life.version)
        })
    }

    fn key(&self, config: &Config) -> Key {
        let first = config.done.iter().take_while(|word| **word == u64::MAX).count();
        let end = config.done.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let done = config.done.get(first..end).unwrap_or_default().into();
        let used = config.used.iter().map(|(class, count)| (*class, *count)).collect();
        Key { first, done, used, state: config.state }
    }

    /// Everything that may come next, the likeliest last.
    fn branch(&mut self, config: &Config, next: &Next, stack: &mut Vec<Config>) {
        let task = self.task;
        for life in task.spec.unseen(config.state) {
            let trail = Some(self.tread(config.trail, (None, Some(life))));
            stack.push(Config { state: Some(life), trail, ..config.clone() });
        }
        for class in 0..self.classes.len() {
            let used = config.used.get(&class).copied().unwrap_or(0);
            let Some(place) = self.classes[class].get(used).copied() else { continue };
            let entry = &task.entries[place];
            if next.limit_ns < entry.from_ns {
                continue;
            }
            for state in task.spec.step(config.state, &entry.call) {
                if state == config.state {
                    continue;
                }
                let trail = Some(self.tread(config.trail, (Some(place), state)));
                let mut child = Config { state, trail, ..config.clone() };
                child.used.insert(class, used + 1);
                self.forget(&mut child);
                stack.push(child);
            }
        }
        for place in next.entries.iter().rev().copied() {
            let call = &task.entries[place].call;
            if call.only_looks() {
                continue;
            }
            for state in task.spec.step(config.state, call) {
                let trail = Some(self.tread(config.trail, (Some(place), state)));
                let mut child = Config { state, trail, ..config.clone() };
                self.place(&mut child, place);
                self.forget(&mut child);
                stack.push(child);
            }
        }
    }

    /// Open operations that expect a version that is gone can be told apart no more.
    fn forget(&self, config: &mut Config) {
        let Some(life) = config.state.filter(|_| self.task.spec.lives_once) else { return };
        config.used.retain(|class, _| {
            let expected = self.task.entries[self.classes[*class][0]].call.expected;
            expected.is_none_or(|version| life.version <= version)
        });
    }

    /// Keeps the order that goes furthest in time, then in number.
    fn note(&mut self, config: &Config, next: &Next) {
        let reached = (next.limit_ns, config.placed);
        let is_further = self
            .furthest
            .as_ref()
            .is_none_or(|(limit_ns, placed, ..)| (*limit_ns, *placed) < reached);
        if is_further || next.entries.is_empty() {
            self.furthest = Some((reached.0, reached.1, config.trail, next.entries.clone()));
        }
    }

    fn furthest(self) -> (Vec<Placed>, Vec<usize>) {
        let Some((_, _, mut at, stuck)) = self.furthest else { return (Vec::new(), Vec::new()) };
        let mut order = Vec::new();
        while let Some((before, placed)) = at.and_then(|at| self.trail.get(at)) {
            order.push(*placed);
            at = *before;
        }
        order.reverse();
        (order, stuck)
    }
}
