//! A session: participants, their time, and which clock runs.

mod banks;
mod create;
mod deadline;
pub mod invariants;
mod outage;
mod settle;
mod transition;
pub mod v1;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{GroupId, ParticipantId, SessionId},
    time::{Millis, Stamp},
};

pub use create::{NewParticipant, NewSession};
pub use transition::Switched;

/// What runs while a session runs. Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncMode {
    /// The active participant's own bank, as in chess.
    PerParticipant,
    /// A fresh `time_per_cycle` every cycle; banks are untouched.
    PerCycle,
    /// The bank of the active participant's group.
    PerGroup,
    /// One countdown for all, whoever is active.
    Global,
    /// A stopwatch, with an optional ceiling.
    CountUp,
}

/// What happens when the running clock falls due. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnTimeout {
    /// The participant is marked expired and the session runs on.
    Notify,
    /// As `Notify`, and the next participant who has not expired becomes active.
    SkipCycle,
    /// The session expires and nobody is active.
    EndSession,
    /// As `Notify`, with a word for the application in the event.
    AutoAction { action: String },
}

/// What an outage of the whole cluster does to the running clock. Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// Time is time: the clock runs on.
    #[default]
    Charge,
    /// The span in which nobody could act is not charged.
    Freeze,
}

/// A participant's position in the array given at creation: the order of turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seat(pub u16);

impl Seat {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    pub id: ParticipantId,
    /// Given by the creator, echoed, never used for ordering.
    pub index: u64,
    pub group: Option<GroupId>,
    /// Time left as of the last charge; in the modes without own banks, what was given.
    pub bank: Millis,
    /// All time spent as the active participant, overtime included, as of the last charge.
    pub used: Millis,
    pub cycles: u64,
    /// When this participant's clock fell due. Kept for good where banks are finite; cleared in
    /// `PerCycle` when the participant's next cycle starts.
    pub expired_at: Option<Stamp>,
}

/// A bank shared by the members of a group. Present in `PerGroup` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: GroupId,
    /// Time left as of the last charge.
    pub bank: Millis,
}

/// Which clock runs, if any. An active seat exists exactly in the phases that need one.
/// Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Pending,
    /// `since` is the start of the stretch that is not charged yet: the start of the cycle, a
    /// resume, or the last event of the clock.
    Running {
        active: Seat,
        since: Stamp,
    },
    Paused {
        active: Seat,
    },
    /// Ended by its clock. `seat` is the participant whose clock it was.
    Expired {
        seat: Seat,
        at: Stamp,
    },
    Completed {
        at: Stamp,
    },
}

/// One session between two commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub mode: SyncMode,
    /// Counts what was committed: 1 at creation, one more for each change. Never goes back while
    /// the session exists.
    pub version: u64,
    /// The version that the last command (not the clock) produced.
    pub commanded_version: u64,
    /// In turn order. Never empty.
    pub participants: Vec<Participant>,
    /// Sorted by id. Empty but in `PerGroup`.
    pub groups: Vec<Group>,
    pub phase: Phase,
    /// Who starts.
    pub first: Seat,
    /// As given; never decreases.
    pub total_time: Millis,
    pub time_per_cycle: Option<Millis>,
    pub increment: Millis,
    pub max_time: Option<Millis>,
    /// As given; `None` takes the mode's default.
    pub on_timeout: Option<OnTimeout>,
    pub auto_advance: Option<bool>,
    /// Thresholds as given.
    pub warnings: Vec<Millis>,
    /// The lowest threshold announced since the last charge.
    pub warned: Option<Millis>,
    /// Time that the session has run, as of the last charge.
    pub elapsed: Millis,
    /// Time that the current cycle has run, as of the last charge.
    pub cycle_elapsed: Millis,
    /// When the clock of the whole session fell due (`Global`, `CountUp`), or the session expired.
    pub expired_at: Option<Stamp>,
    /// A JSON object as compact text.
    pub metadata: Option<String>,
    pub created_at: Stamp,
    pub updated_at: Stamp,
    pub started_at: Option<Stamp>,
    pub completed_at: Option<Stamp>,
    /// Here from format level 2 on; [`v1::SessionV1`] is the form without it.
    pub on_outage: OnOutage,
}

/// The five words of v2, and `expired`. v2's `cancelled` was never produced and is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    Running,
    Paused,
    Expired,
    Completed,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Completed => "completed",
        }
    }
}

impl Session {
    pub const fn status(&self) -> Status {
        match self.phase {
            Phase::Pending => Status::Pending,
            Phase::Running { .. } => Status::Running,
            Phase::Paused { .. } => Status::Paused,
            Phase::Expired { .. } => Status::Expired,
            Phase::Completed { .. } => Status::Completed,
        }
    }

    pub const fn active(&self) -> Option<Seat> {
        match self.phase {
            Phase::Running { active, .. } | Phase::Paused { active } => Some(active),
            Phase::Pending | Phase::Expired { .. } | Phase::Completed { .. } => None,
        }
    }

    pub fn seat_of(&self, id: ParticipantId) -> Option<Seat> {
        let index = self.participants.iter().position(|participant| participant.id == id)?;
        u16::try_from(index).ok().map(Seat)
    }

    pub fn participant(&self, seat: Seat) -> &Participant {
        &self.participants[seat.index()]
    }

    /// Is there a running clock that an outage must not charge?
    pub const fn is_freezable(&self) -> bool {
        match (self.phase, self.on_outage) {
            (Phase::Running { .. }, OnOutage::Freeze) => true,
            (Phase::Running { .. }, OnOutage::Charge)
            | (
                Phase::Pending
                | Phase::Paused { .. }
                | Phase::Expired { .. }
                | Phase::Completed { .. },
                _,
            ) => false,
        }
    }

    /// A session that waits for nobody: it may be removed once it has been idle for long enough.
    pub const fn is_removable(&self) -> bool {
        match self.phase {
            Phase::Pending | Phase::Expired { .. } | Phase::Completed { .. } => true,
            Phase::Running { .. } | Phase::Paused { .. } => false,
        }
    }
}
