//! A search's result in words: the order that was found, and where it ended.

use super::{
    model::{Action, Call, Life, Seen, Spec, State},
    search::{Answer, Found, Task},
};

/// The order in which the operations on a session can have taken effect, as far as there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub outcome: Outcome,
    /// What took effect, in this order.
    pub order: Vec<Step>,
    /// The operations of which one had to come next and none could, the most urgent one first.
    pub stuck: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Legal,
    Illegal,
    /// It took too long to tell.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Indices of the invocations; none where the clock did it.
    pub ops: Vec<u64>,
    /// It took effect between these two; `None` where nobody knows how late.
    pub from_ns: u64,
    pub until_ns: Option<u64>,
    /// What was done, and what was answered.
    pub what: String,
    /// The session after it; of a stuck one the session as it was.
    pub state: String,
}

pub(crate) fn explanation(task: &Task, found: &Found) -> Explanation {
    let step = |place: usize, state: State| {
        let entry = &task.entries[place];
        Step {
            ops: entry.ops.clone(),
            from_ns: entry.from_ns,
            until_ns: entry.until_ns.filter(|until| *until != u64::MAX),
            what: words(&task.spec, &entry.call),
            state: state_words(&task.spec, state),
        }
    };
    let order = found.order.iter().map(|(place, state)| match place {
        Some(place) => step(*place, *state),
        None => Step {
            ops: Vec::new(),
            from_ns: 0,
            until_ns: None,
            what: String::from("the clock, and nobody was told"),
            state: state_words(&task.spec, *state),
        },
    });
    let last = found.order.last().and_then(|(_, state)| *state);
    let is_stuck = found.answer == Answer::Illegal;
    let stuck = found.stuck.iter().filter(|_| is_stuck).map(|place| step(*place, last));
    let outcome = match found.answer {
        Answer::Legal => Outcome::Legal,
        Answer::Illegal => Outcome::Illegal,
        Answer::OutOfBudget => Outcome::Unknown,
    };
    Explanation { outcome, order: order.collect(), stuck: stuck.collect() }
}

impl Explanation {
    /// Why there is no order, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let Some(first) = self.stuck.first() else {
            return String::from("there is no order of the operations that explains the answers");
        };
        let seconds = |ns: u64| format!("{}.{:06}", ns / 1_000_000_000, ns / 1_000 % 1_000_000);
        let until = first.until_ns.map_or_else(|| String::from("the end"), seconds);
        let named = first.ops.first().map_or_else(String::new, |op| format!(" (operation {op})"));
        format!(
            "no order explains the answers: after {} that can be put in order, {}{named}, between \
             {} and {until}, fits nowhere; the session is {} then",
            self.order.len(),
            first.what,
            seconds(first.from_ns),
            first.state,
        )
    }
}

fn seat_words(spec: &Spec, seat: Option<u16>) -> String {
    let Some(seat) = seat else { return String::from("nobody") };
    let known = spec.seats.get(usize::from(seat));
    known.map_or_else(|| format!("seat {seat}"), |id| id.chars().take(8).collect())
}

fn state_words(spec: &Spec, state: State) -> String {
    let Some(Life { version, status, active, .. }) = state else {
        return String::from("not there");
    };
    let active = seat_words(spec, active);
    format!("at version {version}, {}, {active} active", status.as_str())
}

fn words(spec: &Spec, call: &Call) -> String {
    let seat = |seat: &Option<u16>| seat_words(spec, *seat);
    let mut words = match &call.action {
        Action::Create => String::from("a create"),
        Action::Start => String::from("a start"),
        Action::Switch { current, next } => {
            let from = current.map(|_| format!(" from {}", seat(current)));
            let to = next.map(|_| format!(" to {}", seat(next)));
            format!("a switch{}{}", from.unwrap_or_default(), to.unwrap_or_default())
        }
        Action::Pause => String::from("a pause"),
        Action::Resume => String::from("a resume"),
        Action::Complete => String::from("a complete"),
        Action::Delete => String::from("a delete"),
        Action::Told(f) => format!("a {} that subscribers were told of", f.as_str()),
        Action::Gone => String::from("a deletion that subscribers were told of"),
        Action::Own => String::from("a change by the clock"),
        Action::Read => String::from("a read"),
        Action::Missing => String::from("a refusal because there is no such session"),
        Action::Exists => String::from("a create that was refused because there is one"),
        Action::Refused { f, status } => {
            format!("a {} that was refused because it is {}", f.as_str(), status.as_str())
        }
        Action::Conflict { wanted, actual } => {
            format!("a conflict of version {wanted} with version {actual}")
        }
        Action::NotCurrent { wanted, actual } => {
            format!("a conflict because not {} but {} is active", seat(wanted), seat(actual))
        }
    };
    if let Some(version) = call.expected {
        words.push_str(&format!(" that expected version {version}"));
    }
    if let Some(Seen { version, status, active }) = call.seen {
        let active = seat_words(spec, active);
        words.push_str(&format!(" that showed version {version}, {}, {active}", status.as_str()));
    }
    words
}
