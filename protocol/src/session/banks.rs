//! Whose time runs, how much of it is left, and how a stretch of it is charged.

use super::{Group, OnTimeout, Phase, Seat, Session, SyncMode};
#[cfg(feature = "planted-bugs")]
use crate::plant::Plant;
use crate::time::{Millis, Stamp};

/// What happens at the deadline, every default resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtDeadline {
    RunOn,
    Skip,
    End,
}

impl Session {
    /// What is left on the clock that runs, or would run next, as of the last charge. `None`
    /// where there is none: a stopwatch without a ceiling, a session that ended.
    pub fn clock_remaining(&self) -> Option<Millis> {
        let seat = match self.phase {
            Phase::Pending => self.first,
            Phase::Running { active, .. } | Phase::Paused { active } => active,
            Phase::Expired { .. } | Phase::Completed { .. } => return None,
        };
        match self.mode {
            SyncMode::PerParticipant | SyncMode::PerGroup => Some(self.time_remaining(seat)),
            SyncMode::PerCycle => {
                let limit = self.time_per_cycle.unwrap_or(self.total_time);
                Some(limit.saturating_sub(self.cycle_elapsed))
            }
            SyncMode::Global => Some(self.total_time.saturating_sub(self.elapsed)),
            SyncMode::CountUp => self.max_time.map(|max| max.saturating_sub(self.elapsed)),
        }
    }

    /// The bank that `seat` draws on, as of the last charge: its own, or its group's.
    pub fn time_remaining(&self, seat: Seat) -> Millis {
        self.group_index(seat).map_or(self.participant(seat).bank, |index| self.groups[index].bank)
    }

    /// Has the clock that runs while `seat` is active already fallen due?
    pub(super) fn fell_due(&self, seat: Seat) -> bool {
        match self.mode {
            SyncMode::PerParticipant | SyncMode::PerCycle | SyncMode::PerGroup => {
                self.participant(seat).expired_at.is_some()
            }
            SyncMode::Global | SyncMode::CountUp => self.expired_at.is_some(),
        }
    }

    pub(super) fn at_deadline(&self) -> AtDeadline {
        let whole_session = match self.mode {
            SyncMode::PerParticipant | SyncMode::PerCycle | SyncMode::PerGroup => false,
            SyncMode::Global | SyncMode::CountUp => true,
        };
        let asked = match (&self.on_timeout, self.advances_by_itself()) {
            (Some(OnTimeout::EndSession), _) => AtDeadline::End,
            (_, true) | (Some(OnTimeout::SkipCycle), _) => AtDeadline::Skip,
            (Some(OnTimeout::Notify | OnTimeout::AutoAction { .. }), _) => AtDeadline::RunOn,
            (None, false) if whole_session => AtDeadline::End,
            (None, false) => AtDeadline::RunOn,
        };
        // One clock for all: when it is out, nobody has time left to skip to.
        if whole_session && asked == AtDeadline::Skip { AtDeadline::End } else { asked }
    }

    pub(super) fn advances_by_itself(&self) -> bool {
        self.mode == SyncMode::PerCycle && self.auto_advance == Some(true)
    }

    /// Charges the stretch up to `until` to whoever is active; the next stretch starts there.
    pub(super) fn charge(&mut self, until: Stamp) {
        let Phase::Running { active, since } = self.phase else { return };
        let spent = until.since(since);
        self.elapsed = self.elapsed.saturating_add(spent);
        self.cycle_elapsed = self.cycle_elapsed.saturating_add(spent);
        let participant = &mut self.participants[active.index()];
        participant.used = participant.used.saturating_add(spent);
        if let Some(bank) = self.bank_mut(active) {
            *bank = bank.saturating_sub(spent);
        }
        self.warned = None;
        self.phase = Phase::Running { active, since: since.max(until) };
    }

    /// Adds the Fischer increment to the bank of `seat`, unless its clock fell due.
    pub(super) fn add_increment(&mut self, seat: Seat) {
        let (increment, is_out) = (self.increment, self.fell_due(seat));
        #[cfg(feature = "planted-bugs")]
        let is_out = is_out && !Plant::IncrementAfterExpiry.is_on();
        if is_out {
            return;
        }
        if let Some(bank) = self.bank_mut(seat) {
            *bank = bank.saturating_add(increment);
        }
    }

    pub(super) fn begin_cycle(&mut self, seat: Seat, at: Stamp) {
        if self.mode == SyncMode::PerCycle {
            self.participants[seat.index()].expired_at = None;
        }
        self.cycle_elapsed = Millis::ZERO;
        self.warned = None;
        self.phase = Phase::Running { active: seat, since: at };
    }

    /// Marks everybody who draws on the clock of `seat` as out of time.
    pub(super) fn mark_expired(&mut self, seat: Seat, at: Stamp) {
        let shared = self.group_index(seat).map(|index| self.groups[index].id);
        match shared {
            Some(group) => {
                for member in &mut self.participants {
                    if member.group == Some(group) {
                        member.expired_at = Some(at);
                    }
                }
            }
            None => self.participants[seat.index()].expired_at = Some(at),
        }
        if matches!(self.mode, SyncMode::Global | SyncMode::CountUp) {
            self.expired_at = Some(at);
        }
    }

    /// The seat after `seat` in turn order.
    pub(super) fn seat_after(&self, seat: Seat) -> Seat {
        let next = seat.0.saturating_add(1);
        if usize::from(next) < self.participants.len() { Seat(next) } else { Seat(0) }
    }

    /// The next seat in turn order, `seat` itself last, whose clock has not fallen due.
    pub(super) fn next_unexpired(&self, seat: Seat) -> Option<Seat> {
        let mut candidate = seat;
        for _ in 0..self.participants.len() {
            candidate = self.seat_after(candidate);
            if self.participant(candidate).expired_at.is_none() {
                return Some(candidate);
            }
        }
        None
    }

    /// The finite bank that runs down while `seat` is active, in the modes that have one.
    fn bank_mut(&mut self, seat: Seat) -> Option<&mut Millis> {
        match self.mode {
            SyncMode::PerParticipant => Some(&mut self.participants[seat.index()].bank),
            SyncMode::PerGroup => match self.group_index(seat) {
                #[cfg(feature = "planted-bugs")]
                Some(index) if Plant::WrongGroupsBank.is_on() => {
                    let next = (index + 1) % self.groups.len();
                    Some(&mut self.groups[next].bank)
                }
                Some(index) => Some(&mut self.groups[index].bank),
                None => Some(&mut self.participants[seat.index()].bank),
            },
            SyncMode::PerCycle | SyncMode::Global | SyncMode::CountUp => None,
        }
    }

    fn group_index(&self, seat: Seat) -> Option<usize> {
        if self.mode != SyncMode::PerGroup {
            return None;
        }
        let id = self.participant(seat).group?;
        self.groups.binary_search_by_key(&id, |group: &Group| group.id).ok()
    }
}
