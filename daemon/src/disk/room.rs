//! How much room a disk has, in the three steps that a node acts upon. Only arithmetic.

use serde::{Deserialize, Serialize};

/// To be called better again, there must be an eighth more than the bound: a disk at the edge must
/// not make a node change its mind with every entry.
const BETTER_BY: u64 = 8;

/// Travels between nodes. Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Room {
    #[default]
    Enough,
    /// Less than `disk.free_min_bytes`: this node must not lead, and takes no commands as a leader.
    Low,
    /// Less than half of that: this node takes no log entries either.
    Exhausted,
}

impl Room {
    /// After this step, with so much free. `min_bytes` of 0 is always enough.
    pub(crate) fn after(self, free_bytes: u64, min_bytes: u64) -> Self {
        let bound = |bytes: u64, until: Self| {
            // What is called bad must get clearly better.
            if until <= self { bytes.saturating_add(bytes / BETTER_BY) } else { bytes }
        };
        if free_bytes < bound(min_bytes / 2, Self::Exhausted) {
            Self::Exhausted
        } else if free_bytes < bound(min_bytes, Self::Low) {
            Self::Low
        } else {
            Self::Enough
        }
    }
}

/// Less than this is not enough to open the data: recovering a log writes before it reads.
pub(crate) const fn start_min_bytes(free_min_bytes: u64) -> u64 {
    free_min_bytes / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_entered_at_its_bound_and_left_an_eighth_above() {
        let table = [
            (Room::Enough, 1_600, Room::Enough),
            (Room::Enough, 1_599, Room::Low),
            (Room::Low, 1_600, Room::Low),
            (Room::Low, 1_799, Room::Low),
            (Room::Low, 1_800, Room::Enough),
            (Room::Low, 800, Room::Low),
            (Room::Low, 799, Room::Exhausted),
            (Room::Enough, 0, Room::Exhausted),
            (Room::Exhausted, 899, Room::Exhausted),
            (Room::Exhausted, 900, Room::Low),
            (Room::Exhausted, 1_799, Room::Low),
            (Room::Exhausted, 1_800, Room::Enough),
        ];
        for (before, free_bytes, after) in table {
            assert_eq!(before.after(free_bytes, 1_600), after, "{before:?} with {free_bytes}");
        }
    }

    #[test]
    fn without_a_bound_there_is_always_enough() {
        for before in [Room::Enough, Room::Low, Room::Exhausted] {
            assert_eq!(before.after(0, 0), Room::Enough);
        }
    }
}
