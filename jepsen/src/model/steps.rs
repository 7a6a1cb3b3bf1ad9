//! One change of a session, as it was told: may it be, and what comes of it?

use serde_json::Value;

use super::{Session, Status};
use crate::check::state::word;

impl Session {
    /// Makes the change that `cause` tells of at `stamp_ms`.
    ///
    /// # Errors
    /// A sentence that says why this session cannot change so. It is then half changed.
    pub fn step(&mut self, cause: &Value, stamp_ms: u64) -> Result<(), String> {
        if self.status == Status::Completed && word(cause, "type") != "completed" {
            return Err(String::from("it was completed"));
        }
        match word(cause, "type") {
            "participant_expired" | "cycle_skipped" | "session_expired" => {
                return self.fall_due(cause, stamp_ms);
            }
            "outage_credited" => return self.credit(cause, stamp_ms),
            _ => {}
        }
        if word(cause, "reason") != "command" {
            return Err(format!("it is told as {}", word(cause, "reason")));
        }
        if let Some(due) = self.due_ms().filter(|due| *due <= stamp_ms) {
            return Err(format!("its time was up at {due}, before the command of {stamp_ms}"));
        }
        if stamp_ms < self.updated_ms {
            return Err(format!(
                "it is stamped {stamp_ms}, and the version before {}",
                self.updated_ms
            ));
        }
        self.command(cause, stamp_ms)?;
        self.version += 1;
        self.updated_ms = stamp_ms;
        Ok(())
    }

    fn command(&mut self, cause: &Value, now_ms: u64) -> Result<(), String> {
        match (word(cause, "type"), self.status) {
            ("started", Status::Pending) => {
                is(word(cause, "participant_id"), &self.seats[self.first].id, "who begins")?;
                self.started_ms = Some(now_ms);
                self.begin_turn(self.first, now_ms);
            }
            ("switched", Status::Running) => {
                let Some(active) = self.active else {
                    return Err(String::from("nobody is active"));
                };
                is(word(cause, "from_participant_id"), &self.seats[active].id, "who was active")?;
                let to = word(cause, "to_participant_id");
                let Some(next) = self.seats.iter().position(|seat| seat.id == to) else {
                    return Err(format!("{to} takes no part"));
                };
                self.charge(now_ms);
                self.seats[active].cycles += 1;
                self.add_increment(active);
                self.begin_turn(next, now_ms);
            }
            ("paused", Status::Running) => {
                self.charge(now_ms);
                (self.status, self.since_ms) = (Status::Paused, None);
            }
            ("resumed", Status::Paused) => {
                (self.status, self.since_ms) = (Status::Running, Some(now_ms));
            }
            ("completed", _) => {
                self.charge(now_ms);
                (self.status, self.active, self.since_ms) = (Status::Completed, None, None);
                self.completed_ms = Some(now_ms);
            }
            (what, status) => {
                return Err(format!("it was {}, and is told as {what}", status.word()));
            }
        }
        Ok(())
    }

    fn fall_due(&mut self, cause: &Value, stamp_ms: u64) -> Result<(), String> {
        let (Some(due), Some(active)) = (self.due_ms(), self.active) else {
            return Err(String::from("no time runs that could be up"));
        };
        if due != stamp_ms || cause["due_ms"].as_u64() != Some(due) {
            let told = &cause["due_ms"];
            return Err(format!("its time is up at {due}, told is {told}, stamped {stamp_ms}"));
        }
        let was = self.seats[active].id.clone();
        let happened = self.run_out(active, due);
        is(word(cause, "type"), happened, "what then happens")?;
        if happened == "cycle_skipped" {
            is(word(cause, "from_participant_id"), &was, "whose turn it was")?;
            return is(
                word(cause, "to_participant_id"),
                self.active_id().unwrap_or(""),
                "who is next",
            );
        }
        is(word(cause, "participant_id"), &was, "whose time is up")
    }

    /// A span in which nobody could act is not charged.
    fn credit(&mut self, cause: &Value, stamp_ms: u64) -> Result<(), String> {
        let number = |field: &str| cause[field].as_u64().unwrap_or(0);
        let (from, until) = (number("from_ms"), number("until_ms"));
        let (Status::Running, Some(since), true) = (self.status, self.since_ms, self.freeze) else {
            return Err(String::from("no clock runs that an outage must not charge"));
        };
        if self.due_ms().is_some_and(|due| due <= from) {
            return Err(String::from("its time was up before the outage"));
        }
        let credited = until.saturating_sub(from.max(since));
        if number("credited_ms") != credited || until != stamp_ms {
            return Err(format!(
                "{credited} ms up to {until} are to be credited, told are {} up to {stamp_ms}",
                number("credited_ms")
            ));
        }
        self.since_ms = Some(since + credited);
        self.version += 1;
        self.updated_ms = stamp_ms;
        Ok(())
    }

    /// May this request's body have made the next version out of this one?
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn allows(&self, request: &Value, next: &Value) -> Result<(), String> {
        if let Some(expected) = request["expected_version"].as_u64().filter(|v| *v != self.version)
        {
            return Err(format!("version {expected} was expected, and it was {}", self.version));
        }
        let Some(active) = self.active.filter(|_| next["status"] == "running") else {
            return Ok(());
        };
        if let Some(current) = request["current_participant_id"].as_str() {
            is(&self.seats[active].id, current, "who should have been active")?;
        }
        let became = next["active_participant_id"].as_str().unwrap_or_default();
        match request["next_participant_id"].as_str() {
            Some(named) => is(became, named, "who should become active"),
            None => Ok(()),
        }
    }

    /// Who becomes active by a switch that names nobody.
    pub fn follows(&self) -> Option<&str> {
        self.active.map(|seat| self.seats[self.next_in_turn(seat)].id.as_str())
    }
}

fn is(told: &str, expected: &str, what: &str) -> Result<(), String> {
    if told == expected { Ok(()) } else { Err(format!("{what} is {expected}, told is {told}")) }
}
