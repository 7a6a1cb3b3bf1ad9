//! What clients are shown of a session.

use serde_json::{Value, json};

use super::{Mode, Session, Status};

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::PerParticipant => "per_participant",
            Self::PerCycle => "per_cycle",
            Self::PerGroup => "per_group",
            Self::Global => "global",
            Self::CountUp => "count_up",
        }
    }
}

impl Status {
    pub const fn word(self) -> &'static str {
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
    /// `data` of an answer with the whole state.
    pub fn shown(&self) -> Value {
        let clock = match self.status {
            Status::Pending => Some(self.first),
            Status::Running | Status::Paused => self.active,
            Status::Expired | Status::Completed => None,
        };
        let mut shown = json!({
            "session_id": self.id,
            "sync_mode": self.mode.word(),
            "status": self.status.word(),
            "version": self.version,
            "participants": self.participants(),
            "active_participant_id": self.active_id(),
            "total_time_ms": self.total_ms,
            "time_per_cycle_ms": self.per_cycle_ms,
            "cycle_started_at": self.since_ms.map(iso),
            "session_started_at": self.started_ms.map(iso),
            "session_completed_at": self.completed_ms.map(iso),
            "increment_ms": self.increment_ms,
            "created_at": iso(self.created_ms),
            "updated_at": iso(self.updated_ms),
            "time_remaining_ms": clock.and_then(|seat| self.left_ms(seat)),
            "elapsed_ms": self.elapsed_ms,
            "deadline_ms": self.due_ms(),
            "expired_at": self.expired_ms.map(iso),
        });
        if self.mode == Mode::PerGroup {
            let bank =
                |bank: &super::Bank| json!({"group_id": bank.group, "total_time_ms": bank.left_ms});
            shown["groups"] = self.groups.iter().map(bank).collect();
        }
        if let Some(max) = self.max_ms {
            shown["max_time_ms"] = json!(max);
        }
        if let Some(rule) = &self.on_timeout {
            shown["on_timeout"] = rule.clone();
        }
        if let Some(advance) = self.auto_advance {
            shown["auto_advance"] = json!(advance);
        }
        if self.freeze {
            shown["on_outage"] = json!("freeze");
        }
        if !self.warnings_ms.is_empty() {
            shown["warnings_ms"] = json!(self.warnings_ms);
        }
        if let Some(metadata) = &self.metadata {
            shown["metadata"] = metadata.clone();
        }
        shown
    }

    /// `data` of the answer to a switch. `out` is who was switched away from, where out of time.
    pub fn switched(&self, out: Option<&str>) -> Value {
        let mut shown = json!({
            "session_id": self.id,
            "active_participant_id": self.active_id(),
            "cycle_started_at": self.since_ms.map(iso),
            "participants": self.participants(),
            "status": self.status.word(),
            "version": self.version,
        });
        if let Some(out) = out {
            shown["expired_participant_id"] = json!(out);
        }
        shown
    }

    /// The id of who would be told as out of time by a switch.
    pub fn out_now(&self) -> Option<&str> {
        let seat = &self.seats[self.active?];
        seat.expired_ms.map(|_| seat.id.as_str())
    }

    pub(super) fn active_id(&self) -> Option<&str> {
        self.active.map(|seat| self.seats[seat].id.as_str())
    }

    fn participants(&self) -> Value {
        let shown = |(place, seat): (usize, &super::Seat)| {
            let mut shown = json!({
                "participant_id": seat.id,
                "participant_index": seat.index,
                "total_time_ms": seat.bank_ms,
                "time_used_ms": seat.used_ms,
                "time_remaining_ms": self.own_ms(place),
                "cycle_count": seat.cycles,
                "is_active": self.active == Some(place),
                "has_expired": seat.expired_ms.is_some(),
            });
            if let Some(group) = &seat.group {
                shown["group_id"] = json!(group);
            }
            if let Some(expired) = seat.expired_ms {
                shown["expired_at"] = json!(iso(expired));
            }
            shown
        };
        self.seats.iter().enumerate().map(shown).collect()
    }
}

/// A point in time as the interface writes it: `2026-11-26T16:31:05.123Z`.
fn iso(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(String::new, |stamp| stamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}
