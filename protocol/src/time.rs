//! Durations and instants of cluster time, in whole milliseconds.

use serde::{Deserialize, Serialize};

/// A duration in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(u64);

impl Millis {
    pub const ZERO: Self = Self(0);

    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// An instant of cluster time: milliseconds since the Unix epoch, as the leader counted them.
///
/// It never goes back from one log entry to the next.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Stamp(u64);

impl Stamp {
    pub const ZERO: Self = Self(0);

    pub const fn from_unix_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero where `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    pub const fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier, but not before the epoch.
    pub const fn before(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// ISO 8601 in UTC with milliseconds and `Z`, as v2 writes it: `2026-01-31T08:00:00.000Z`.
    pub fn to_iso(self) -> String {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis)
            .map_or_else(|_| String::from("9999-12-31T23:59:59.999Z"), |at| format!("{at:.3}"))
    }

    /// Reads what [`Stamp::to_iso`] writes; `None` for anything that is no instant since 1970.
    pub fn from_iso(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_form_is_the_one_of_v2() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_769_846_400_000, "2026-01-31T08:00:00.000Z"),
            (1_769_846_400_007, "2026-01-31T08:00:00.007Z"),
            (951_782_400_120, "2000-02-29T00:00:00.120Z"),
        ];
        for (millis, text) in table {
            assert_eq!(Stamp::from_unix_millis(millis).to_iso(), text);
            assert_eq!(Stamp::from_iso(text), Some(Stamp::from_unix_millis(millis)));
        }
        assert_eq!(Stamp::from_unix_millis(u64::MAX).to_iso(), "9999-12-31T23:59:59.999Z");
    }
}
