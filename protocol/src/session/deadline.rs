//! When a running clock next does something by itself.

use super::{Phase, Session};
use crate::time::{Millis, Stamp};

/// What a clock does at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It crosses this threshold.
    Warning(Millis),
    /// It runs out.
    Expiry,
}

impl Session {
    /// The earliest instant at which the session changes without a command.
    pub fn next_due(&self) -> Option<Stamp> {
        self.next_due_event().map(|(at, _)| at)
    }

    /// When the running clock runs out: the millisecond in which nothing is left on it.
    pub fn expiry_due(&self) -> Option<Stamp> {
        let Phase::Running { active, since } = self.phase else { return None };
        if self.fell_due(active) {
            return None;
        }
        self.clock_remaining().map(|remaining| since.after(remaining))
    }

    pub(super) fn next_due_event(&self) -> Option<(Stamp, Due)> {
        let expiry = self.expiry_due()?;
        // A threshold lies before the expiry, never at it: thresholds are positive.
        Some(match self.next_threshold() {
            Some(threshold) => (expiry.before(threshold), Due::Warning(threshold)),
            None => (expiry, Due::Expiry),
        })
    }

    /// The highest threshold that the running stretch has still to cross.
    fn next_threshold(&self) -> Option<Millis> {
        let remaining = self.clock_remaining()?;
        let below = self.warned.map_or(remaining, |warned| warned.min(remaining));
        self.warnings.iter().copied().filter(|threshold| *threshold < below).max()
    }
}
