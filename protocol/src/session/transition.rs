//! What a command does to a session that is settled up to the command's stamp.
//!
//! Every transition rejects first and changes after; nothing can fail once the first field is
//! written.

use super::{Phase, Seat, Session, banks::AtDeadline};
#[cfg(feature = "planted-bugs")]
use crate::plant::Plant;
use crate::{
    command::Expected,
    event::Event,
    ids::ParticipantId,
    reject::{Reject, Verb},
    session::SyncMode,
    time::Stamp,
};

/// What a switch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    pub event: Event,
    /// The participant just switched away from, where out of time.
    pub expired: Option<ParticipantId>,
}

impl Session {
    pub(crate) fn start(&mut self, expected: Expected, now: Stamp) -> Result<Event, Reject> {
        self.check_version(expected)?;
        if self.phase != Phase::Pending {
            return Err(self.wrong_status(Verb::Started));
        }
        self.begin_cycle(self.first, now);
        self.started_at = Some(now);
        self.bump(now);
        Ok(Event::Started { participant: self.participant(self.first).id })
    }

    pub(crate) fn switch(
        &mut self,
        expected: Expected,
        current: Option<ParticipantId>,
        next: Option<ParticipantId>,
        now: Stamp,
    ) -> Result<Switched, Reject> {
        self.check_version(expected)?;
        let active = self.running_seat()?;
        let from = self.participant(active).id;
        if let Some(expected) = current.filter(|expected| *expected != from) {
            return Err(Reject::NotCurrent { session: self.id, expected, actual: from });
        }
        let next = match next {
            Some(participant) => self
                .seat_of(participant)
                .ok_or(Reject::ParticipantNotFound { session: self.id, participant })?,
            None => self.next_in_turn(active),
        };

        self.charge(now);
        self.participants[active.index()].cycles += 1;
        self.add_increment(active);
        let expired = self.participant(active).expired_at.map(|_| from);
        self.begin_cycle(next, now);
        self.bump(now);
        let to = self.participant(next).id;
        Ok(Switched { event: Event::Switched { from, to }, expired })
    }

    pub(crate) fn pause(&mut self, expected: Expected, now: Stamp) -> Result<Event, Reject> {
        self.check_version(expected)?;
        let Phase::Running { active, .. } = self.phase else {
            return Err(self.wrong_status(Verb::Paused));
        };
        #[cfg(feature = "planted-bugs")]
        if Plant::PauseChargesNothing.is_on() {
            self.phase = Phase::Paused { active };
            self.bump(now);
            return Ok(Event::Paused);
        }
        self.charge(now);
        self.phase = Phase::Paused { active };
        self.bump(now);
        Ok(Event::Paused)
    }

    pub(crate) fn resume(&mut self, expected: Expected, now: Stamp) -> Result<Event, Reject> {
        self.check_version(expected)?;
        let Phase::Paused { active } = self.phase else {
            return Err(self.wrong_status(Verb::Resumed));
        };
        self.phase = Phase::Running { active, since: now };
        self.bump(now);
        Ok(Event::Resumed)
    }

    /// Allowed in every phase, as in v2; the running stretch is charged first.
    pub(crate) fn complete(&mut self, expected: Expected, now: Stamp) -> Result<Event, Reject> {
        self.check_version(expected)?;
        self.charge(now);
        self.phase = Phase::Completed { at: now };
        self.completed_at = Some(now);
        self.bump(now);
        Ok(Event::Completed)
    }

    fn check_version(&self, expected: Expected) -> Result<(), Reject> {
        #[cfg(feature = "planted-bugs")]
        if match expected {
            Expected::Exactly(version) => Plant::CasLost.is_on() && version < self.version,
            Expected::Seen(_) => Plant::LostConflict.is_on(),
        } {
            return Ok(());
        }
        let (expected, holds) = match expected {
            Expected::Exactly(version) => (version, self.version == version),
            // A version below what was seen is another session of the same id.
            Expected::Seen(version) => {
                (version, self.commanded_version <= version && version <= self.version)
            }
        };
        if holds {
            return Ok(());
        }
        Err(Reject::VersionMoved { session: self.id, expected, actual: self.version })
    }

    fn running_seat(&self) -> Result<Seat, Reject> {
        match self.phase {
            Phase::Running { active, .. } => Ok(active),
            Phase::Expired { seat, at } => {
                let participant = self.participant(seat).id;
                Err(Reject::Expired { session: self.id, participant, at })
            }
            Phase::Pending | Phase::Paused { .. } | Phase::Completed { .. } => {
                Err(Reject::NotRunning { session: self.id, status: self.status() })
            }
        }
    }

    /// Who follows `seat` where the caller names nobody. Where the session skips those who are
    /// out of time, they are not given a turn; a fresh cycle is nobody's lost bank.
    fn next_in_turn(&self, seat: Seat) -> Seat {
        let skips = self.at_deadline() == AtDeadline::Skip && self.mode != SyncMode::PerCycle;
        skips.then(|| self.next_unexpired(seat)).flatten().unwrap_or_else(|| self.seat_after(seat))
    }

    fn wrong_status(&self, verb: Verb) -> Reject {
        Reject::WrongStatus { session: self.id, verb, status: self.status() }
    }

    fn bump(&mut self, now: Stamp) {
        self.version += 1;
        self.commanded_version = self.version;
        self.updated_at = now;
    }
}
