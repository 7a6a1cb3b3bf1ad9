//! What a session does, as small as it can be: is it there, its version, its status, and who is
//! active. Times are left out; what the clock does may happen whenever it is not ruled out.

use std::collections::BTreeSet;

use crate::history::op::F;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Status {
    Pending,
    Running,
    Paused,
    Expired,
    Completed,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Completed => "completed",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Running, Self::Paused, Self::Expired, Self::Completed];
        all.into_iter().find(|status| status.as_str() == word)
    }

    /// Is a command refused because of it?
    const fn refuses(self, f: F) -> bool {
        match f {
            F::Start => !matches!(self, Self::Pending),
            F::Switch | F::Pause => !matches!(self, Self::Running),
            F::Resume => !matches!(self, Self::Paused),
            F::Create
            | F::Complete
            | F::Delete
            | F::Read
            | F::StaleRead
            | F::List
            | F::Batch
            | F::Time => false,
        }
    }
}

/// A participant, by the place that [`Spec::seats`] has it at.
pub(crate) type Seat = u16;

/// A session that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) version: u64,
    /// The version that the last command made, and not the clock.
    pub(crate) commanded: u64,
    pub(crate) status: Status,
    pub(crate) active: Option<Seat>,
}

/// `None` where there is no such session.
pub(crate) type State = Option<Life>;

/// What an answer shows of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) version: u64,
    pub(crate) status: Status,
    pub(crate) active: Option<Seat>,
}

impl Seen {
    fn is(self, life: &Life) -> bool {
        (self.version, self.status, self.active) == (life.version, life.status, life.active)
    }
}

/// One operation on a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) action: Action,
    /// The `expected_version` of the request.
    pub(crate) expected: Option<u64>,
    /// The session right after it, where the answer shows it.
    pub(crate) seen: Option<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Action {
    Create,
    Start,
    Switch {
        current: Option<Seat>,
        next: Option<Seat>,
    },
    Pause,
    Resume,
    Complete,
    Delete,
    /// A command that only subscribers tell of: nobody knows whose it was.
    Told(F),
    /// The session was there, and then it was not.
    Gone,
    /// The clock made this version.
    Own,
    Read,
    /// There is no such session.
    Missing,
    /// A create was refused because there is one.
    Exists,
    /// Refused because of the status.
    Refused {
        f: F,
        status: Status,
    },
    /// Refused because the version is another one than the caller, or its leader, had seen.
    Conflict {
        wanted: u64,
        actual: u64,
    },
    /// Refused because another participant is active.
    NotCurrent {
        wanted: Option<Seat>,
        actual: Option<Seat>,
    },
}

impl Call {
    pub(crate) const fn of(action: Action) -> Self {
        Self { action, expected: None, seen: None }
    }

    pub(crate) const fn seeing(mut self, seen: Option<Seen>) -> Self {
        self.seen = seen;
        self
    }

    /// It changes nothing in any state.
    pub(crate) const fn only_looks(&self) -> bool {
        match self.action {
            Action::Read
            | Action::Missing
            | Action::Exists
            | Action::Refused { .. }
            | Action::Conflict { .. }
            | Action::NotCurrent { .. } => true,
            Action::Create
            | Action::Start
            | Action::Switch { .. }
            | Action::Pause
            | Action::Resume
            | Action::Complete
            | Action::Delete
            | Action::Told(_)
            | Action::Gone
            | Action::Own => false,
        }
    }

    /// The version that the session must have right before it, where only one will do.
    pub(crate) fn version_before(&self) -> Option<u64> {
        let made = self.seen.map(|seen| seen.version.saturating_sub(1));
        match self.action {
            Action::Start
            | Action::Switch { .. }
            | Action::Pause
            | Action::Resume
            | Action::Complete
            | Action::Own => self.expected.or(made),
            Action::Read => self.seen.map(|seen| seen.version),
            Action::Conflict { actual, .. } => Some(actual),
            Action::Refused { .. } | Action::NotCurrent { .. } => self.expected,
            Action::Create | Action::Told(F::Create) => Some(1),
            Action::Told(_) => made,
            Action::Delete | Action::Gone | Action::Missing | Action::Exists => None,
        }
    }
}

/// What is fixed in the life of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Ids of participants, in turn order where that is known.
    pub(crate) seats: Vec<String>,
    pub(crate) in_order: bool,
    /// Who begins; `None` where nobody knows.
    pub(crate) first: Option<Seat>,
    /// Those who are out of time may be passed over.
    pub(crate) skips: bool,
    /// Can a clock of this session fall due within the run at all?
    pub(crate) falls_due: bool,
    /// It was made once at most, so that versions never go back.
    pub(crate) lives_once: bool,
    /// Versions that subscribers were told of: the clock makes none beside what they tell.
    pub(crate) told: BTreeSet<u64>,
    /// Nobody saw a higher version than this.
    pub(crate) version_max: u64,
}

impl Spec {
    /// The seat of a participant; a new one where it is unknown.
    pub(crate) fn seat(&mut self, id: &str) -> Seat {
        let known = self.seats.iter().position(|seat| seat == id);
        let place = known.unwrap_or_else(|| {
            self.seats.push(id.to_owned());
            self.seats.len() - 1
        });
        Seat::try_from(place).unwrap_or(Seat::MAX)
    }

    fn all(&self) -> impl Iterator<Item = Seat> {
        (0..).take(self.seats.len())
    }

    /// Who may follow where the caller names nobody.
    fn following(&self, active: Option<Seat>) -> Vec<Seat> {
        let place = active.map(usize::from).filter(|_| self.in_order && !self.skips);
        match place {
            Some(place) if place < self.seats.len() => {
                Seat::try_from((place + 1) % self.seats.len()).into_iter().collect()
            }
            Some(_) | None => self.all().collect(),
        }
    }

    /// What the clock may have made of a session without anybody telling of it.
    pub(crate) fn unseen(&self, state: State) -> Vec<Life> {
        let Some(life) = state.filter(|life| {
            self.falls_due
                && life.status == Status::Running
                && life.version <= self.version_max
                && !(self.lives_once && self.told.contains(&(life.version + 1)))
        }) else {
            return Vec::new();
        };
        let life = Life { version: life.version + 1, ..life };
        let mut after: Vec<Life> =
            self.all().map(|seat| Life { active: Some(seat), ..life }).collect();
        after.push(Life { status: Status::Expired, active: None, ..life });
        after
    }

    /// What `call` may make of a session in this state; nothing where it cannot be.
    pub(crate) fn step(&self, state: State, call: &Call) -> Vec<State> {
        let mut after = self.effects(state, call);
        if let Some(seen) = call.seen {
            after.retain(|state| state.as_ref().is_some_and(|life| seen.is(life)));
        }
        after
    }

    fn effects(&self, state: State, call: &Call) -> Vec<State> {
        let Some(life) = state else {
            return match call.action {
                Action::Create | Action::Told(F::Create) => vec![Some(BORN)],
                Action::Delete | Action::Missing => vec![None],
                Action::Start
                | Action::Switch { .. }
                | Action::Pause
                | Action::Resume
                | Action::Complete
                | Action::Told(_)
                | Action::Gone
                | Action::Own
                | Action::Read
                | Action::Exists
                | Action::Refused { .. }
                | Action::Conflict { .. }
                | Action::NotCurrent { .. } => Vec::new(),
            };
        };
        let is_expected = call.expected.is_none_or(|version| version == life.version);
        match &call.action {
            // An identical create of a session that nobody has started is answered with it.
            Action::Create if life.status == Status::Pending => vec![state],
            Action::Create | Action::Told(F::Create) | Action::Missing => Vec::new(),
            Action::Delete | Action::Gone => vec![None],
            Action::Own => self.own(life, call.seen),
            Action::Read | Action::Exists => vec![state],
            Action::Conflict { wanted, actual } => {
                let expected = call.expected;
                holds(state, life.version == *actual && is_conflict(&life, expected, *wanted))
            }
            Action::Refused { f, status } => {
                holds(state, is_expected && life.status == *status && status.refuses(*f))
            }
            Action::NotCurrent { wanted, actual } => {
                let other = life.active == *actual && life.active != *wanted;
                holds(state, is_expected && life.status == Status::Running && other)
            }
            Action::Start
            | Action::Switch { .. }
            | Action::Pause
            | Action::Resume
            | Action::Complete
            | Action::Told(_)
                if !is_expected =>
            {
                Vec::new()
            }
            Action::Start => self.commanded(life, F::Start, None),
            Action::Switch { current, .. }
                if current.is_some_and(|current| Some(current) != life.active) =>
            {
                Vec::new()
            }
            Action::Switch { next, .. } => {
                let next = next.map_or_else(|| self.following(life.active), |next| vec![next]);
                self.commanded(life, F::Switch, Some(next))
            }
            Action::Pause => self.commanded(life, F::Pause, None),
            Action::Resume => self.commanded(life, F::Resume, None),
            Action::Complete => self.commanded(life, F::Complete, None),
            Action::Told(f) => self.commanded(life, *f, Some(self.all().collect())),
        }
    }

    /// The session after a command; a switch is to one of `next`.
    fn commanded(&self, life: Life, f: F, next: Option<Vec<Seat>>) -> Vec<State> {
        if life.status.refuses(f) {
            return Vec::new();
        }
        let version = life.version + 1;
        let after = |status, active| Some(Life { version, commanded: version, status, active });
        let running = |seats: Vec<Seat>| {
            seats.into_iter().map(|seat| after(Status::Running, Some(seat))).collect()
        };
        match f {
            F::Start => running(self.first.map_or_else(|| self.all().collect(), |seat| vec![seat])),
            F::Switch => running(next.unwrap_or_default()),
            F::Pause => vec![after(Status::Paused, life.active)],
            F::Resume => vec![after(Status::Running, life.active)],
            F::Complete => vec![after(Status::Completed, None)],
            F::Create | F::Delete | F::Read | F::StaleRead | F::List | F::Batch | F::Time => {
                Vec::new()
            }
        }
    }

    /// The clock runs while the session does, and ends it or leaves it running.
    fn own(&self, life: Life, seen: Option<Seen>) -> Vec<State> {
        let Some(seen) = seen.filter(|_| life.status == Status::Running) else { return Vec::new() };
        let Seen { status, active, .. } = seen;
        let can_be = matches!(status, Status::Running | Status::Expired);
        let next = Life { version: life.version + 1, status, active, ..life };
        holds(Some(next), can_be)
    }
}

/// A session that was just made.
const BORN: Life = Life { version: 1, commanded: 1, status: Status::Pending, active: None };

fn holds(state: State, is_so: bool) -> Vec<State> {
    if is_so { vec![state] } else { Vec::new() }
}

/// Without a version in the request it is the one that the leader had seen, and what the clock did
/// since is no conflict.
fn is_conflict(life: &Life, expected: Option<u64>, seen: u64) -> bool {
    match expected {
        Some(version) => version != life.version,
        None => seen < life.commanded || life.version < seen,
    }
}
