//! Whose time runs, when it is up, and what then happens.

use super::{AtTheEnd, Mode, Session, Status};

impl Session {
    /// When the running time is up.
    pub fn due_ms(&self) -> Option<u64> {
        let (Status::Running, Some(seat), Some(since)) = (self.status, self.active, self.since_ms)
        else {
            return None;
        };
        if self.is_out(seat) { None } else { Some(since + self.left_ms(seat)?) }
    }

    /// Is the time that runs while it is this one's turn up already?
    pub(super) fn is_out(&self, seat: usize) -> bool {
        match self.mode {
            Mode::PerParticipant | Mode::PerCycle | Mode::PerGroup => {
                self.seats[seat].expired_ms.is_some()
            }
            Mode::Global | Mode::CountUp => self.expired_ms.is_some(),
        }
    }

    /// What is left of the time that runs while it is this one's turn, as of the last charge.
    pub(super) fn left_ms(&self, seat: usize) -> Option<u64> {
        match self.mode {
            Mode::PerParticipant | Mode::PerGroup => Some(self.own_ms(seat)),
            Mode::PerCycle => {
                Some(self.per_cycle_ms.unwrap_or(self.total_ms).saturating_sub(self.cycle_ms))
            }
            Mode::Global => Some(self.total_ms.saturating_sub(self.elapsed_ms)),
            Mode::CountUp => Some(self.max_ms?.saturating_sub(self.elapsed_ms)),
        }
    }

    /// What this one may still use: of the group where it is in one that shares, else its own.
    pub(super) fn own_ms(&self, seat: usize) -> u64 {
        let shared = self.groups.iter().find(|bank| Some(&bank.group) == self.shares(seat));
        shared.map_or(self.seats[seat].bank_ms, |bank| bank.left_ms)
    }

    fn shares(&self, seat: usize) -> Option<&String> {
        self.seats[seat].group.as_ref().filter(|_| self.mode == Mode::PerGroup)
    }

    /// Changes the bank that runs down in this one's turn, where there is one.
    fn on_bank(&mut self, seat: usize, change: impl Fn(u64) -> u64) {
        match self.mode {
            Mode::PerCycle | Mode::Global | Mode::CountUp => {}
            Mode::PerParticipant | Mode::PerGroup => {
                let shared = self.shares(seat).cloned();
                match self.groups.iter_mut().find(|bank| Some(&bank.group) == shared.as_ref()) {
                    Some(bank) => bank.left_ms = change(bank.left_ms),
                    None => {
                        let seat = &mut self.seats[seat];
                        seat.bank_ms = change(seat.bank_ms);
                    }
                }
            }
        }
    }

    /// Takes the time up to here from whoever's turn it is.
    pub(super) fn charge(&mut self, until_ms: u64) {
        let (Status::Running, Some(seat), Some(since)) = (self.status, self.active, self.since_ms)
        else {
            return;
        };
        let spent = until_ms.saturating_sub(since);
        self.seats[seat].used_ms += spent;
        self.elapsed_ms += spent;
        self.cycle_ms += spent;
        self.on_bank(seat, |left| left.saturating_sub(spent));
        self.since_ms = Some(since + spent);
    }

    /// A Fischer increment, for who did not run out.
    pub(super) fn add_increment(&mut self, seat: usize) {
        let increment = self.increment_ms;
        if !self.is_out(seat) {
            self.on_bank(seat, |left| left + increment);
        }
    }

    pub(super) fn begin_turn(&mut self, seat: usize, now_ms: u64) {
        self.status = Status::Running;
        (self.active, self.since_ms, self.cycle_ms) = (Some(seat), Some(now_ms), 0);
        if self.mode == Mode::PerCycle {
            self.seats[seat].expired_ms = None;
        }
    }

    /// What this session does when time is up, its mode's habits included.
    pub(super) fn at_the_end(&self) -> AtTheEnd {
        let all_share_one = matches!(self.mode, Mode::Global | Mode::CountUp);
        let rule = self.on_timeout.as_ref().and_then(|rule| rule["type"].as_str());
        let moves_on = self.mode == Mode::PerCycle && self.auto_advance == Some(true);
        match rule {
            Some("end_session") => AtTheEnd::Stop,
            Some("skip_cycle") if all_share_one => AtTheEnd::Stop,
            Some("skip_cycle") => AtTheEnd::NextOne,
            _ if moves_on => AtTheEnd::NextOne,
            None if all_share_one => AtTheEnd::Stop,
            Some(_) | None => AtTheEnd::GoOn,
        }
    }

    /// Time is up at this millisecond. Returns the word for what happened.
    pub(super) fn run_out(&mut self, seat: usize, at_ms: u64) -> &'static str {
        self.charge(at_ms);
        let shared = self.shares(seat).cloned();
        for (place, other) in self.seats.iter_mut().enumerate() {
            if place == seat || (shared.is_some() && other.group == shared) {
                other.expired_ms = Some(at_ms);
            }
        }
        if matches!(self.mode, Mode::Global | Mode::CountUp) {
            self.expired_ms = Some(at_ms);
        }
        self.version += 1;
        self.updated_ms = at_ms;
        let next = match self.at_the_end() {
            AtTheEnd::GoOn => return "participant_expired",
            AtTheEnd::NextOne => self.next_with_time(seat),
            AtTheEnd::Stop => None,
        };
        if let Some(next) = next {
            self.seats[seat].cycles += 1;
            self.begin_turn(next, at_ms);
            return "cycle_skipped";
        }
        self.status = Status::Expired;
        (self.active, self.since_ms) = (None, None);
        (self.expired_ms, self.completed_ms) = (Some(at_ms), Some(at_ms));
        "session_expired"
    }

    /// The next in turn who has not run out, this one last.
    fn next_with_time(&self, seat: usize) -> Option<usize> {
        let count = self.seats.len();
        (1..=count)
            .map(|step| (seat + step) % count)
            .find(|next| self.seats[*next].expired_ms.is_none())
    }

    /// Whose turn comes after this one's, where nobody is named.
    pub(super) fn next_in_turn(&self, seat: usize) -> usize {
        let after = (seat + 1) % self.seats.len();
        // A fresh cycle is for everybody; a bank that is gone is gone.
        if self.mode != Mode::PerCycle && self.at_the_end() == AtTheEnd::NextOne {
            return self.next_with_time(seat).unwrap_or(after);
        }
        after
    }
}
