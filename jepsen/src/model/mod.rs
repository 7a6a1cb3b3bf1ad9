//! What a session is and does, told a second time.
//!
//! This is written from the contract and shares nothing with the product's own machine, so that
//! one mistake cannot hide in both. It is slow and plain on purpose.

mod clock;
mod made;
mod shown;
mod steps;

#[cfg(test)]
mod tests;

use serde_json::Value;

/// Which time runs while a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    PerParticipant,
    PerCycle,
    PerGroup,
    Global,
    CountUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Running,
    Paused,
    Expired,
    Completed,
}

/// What happens when time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTheEnd {
    /// The participant is marked, and the session goes on.
    GoOn,
    /// As that, and the next one who has time becomes active.
    NextOne,
    /// The session expires.
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub id: String,
    pub index: u64,
    pub group: Option<String>,
    pub bank_ms: u64,
    pub used_ms: u64,
    pub cycles: u64,
    pub expired_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    pub group: String,
    pub left_ms: u64,
}

/// A session; all times in milliseconds, all points in time since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    pub mode: Mode,
    pub version: u64,
    pub status: Status,
    pub seats: Vec<Seat>,
    /// Ordered by group.
    pub groups: Vec<Bank>,
    /// Whose turn it is.
    pub active: Option<usize>,
    /// From where time is not charged yet.
    pub since_ms: Option<u64>,
    /// Who begins.
    pub first: usize,
    pub total_ms: u64,
    pub per_cycle_ms: Option<u64>,
    pub increment_ms: u64,
    pub max_ms: Option<u64>,
    /// As given.
    pub on_timeout: Option<Value>,
    pub auto_advance: Option<bool>,
    pub freeze: bool,
    pub warnings_ms: Vec<u64>,
    pub metadata: Option<Value>,
    pub elapsed_ms: u64,
    /// How much of it is of this cycle.
    pub cycle_ms: u64,
    pub created_ms: u64,
    pub updated_ms: u64,
    pub started_ms: Option<u64>,
    pub completed_ms: Option<u64>,
    pub expired_ms: Option<u64>,
}
