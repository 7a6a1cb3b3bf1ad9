//! Cluster time on this machine: measured over the network, then counted by the local monotonic
//! clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use synckairos_protocol::time::{Millis, Stamp};

use crate::{client::Client, error::ClientError};

/// An estimate of cluster time. It drifts as the local clock does, a few milliseconds in an hour:
/// measure anew from time to time.
#[derive(Clone, Copy, Debug)]
pub struct ServerClock {
    /// When the node most likely read its clock.
    anchor: Instant,
    at_anchor: Stamp,
    uncertainty: Duration,
    offset_ms: i64,
}

/// One question for the time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    asked: Instant,
    answered: Instant,
    /// The wall clock of this machine, read together with `answered`.
    wall: SystemTime,
    server: Stamp,
}

impl Client {
    /// Asks for the time `samples` times (at least once) and keeps the quickest answer, which is
    /// the one whose way back and forth can hide the least.
    ///
    /// # Errors
    /// None of the questions was answered.
    pub async fn clock(&self, samples: u32) -> Result<ServerClock, ClientError> {
        let mut best: Option<ServerClock> = None;
        let mut last_error = None;
        for _ in 0..samples.max(1) {
            let asked = Instant::now();
            let server = match self.time().await {
                Ok(answer) => answer.timestamp_ms,
                Err(error) => {
                    last_error = Some(error);
                    continue;
                }
            };
            let (answered, wall) = (Instant::now(), SystemTime::now());
            let clock = ServerClock::of(Sample { asked, answered, wall, server });
            if best.is_none_or(|best| clock.uncertainty < best.uncertainty) {
                best = Some(clock);
            }
        }
        match (best, last_error) {
            (Some(best), _) => Ok(best),
            (None, Some(error)) => Err(error),
            (None, None) => unreachable!("at least one question was asked"),
        }
    }
}

impl ServerClock {
    fn of(sample: Sample) -> Self {
        let one_way = sample.answered.saturating_duration_since(sample.asked) / 2;
        let anchor = sample.asked + one_way;
        let wall = sample.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_at_anchor = wall.saturating_sub(one_way);
        Self {
            anchor,
            at_anchor: sample.server,
            // The node tells whole milliseconds.
            uncertainty: one_way + Duration::from_millis(1),
            offset_ms: signed(sample.server.unix_millis())
                .saturating_sub(signed(millis(wall_at_anchor))),
        }
    }

    /// Cluster time now.
    pub fn now(&self) -> Stamp {
        self.at(Instant::now())
    }

    /// Cluster time at an instant of the local monotonic clock.
    pub fn at(&self, instant: Instant) -> Stamp {
        match instant.checked_duration_since(self.anchor) {
            Some(later) => self.at_anchor.after(Millis::new(millis(later))),
            None => self.at_anchor.before(Millis::new(millis(self.anchor - instant))),
        }
    }

    /// Cluster time is within this of the estimate.
    pub fn uncertainty(&self) -> Duration {
        self.uncertainty
    }

    /// By how many milliseconds cluster time was ahead of this machine's wall clock (behind it
    /// where negative) when it was measured.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_way_is_added_and_the_clock_runs_on() {
        let asked = Instant::now();
        let ms = Duration::from_millis;
        let sample = Sample {
            asked,
            answered: asked + ms(40),
            wall: UNIX_EPOCH + ms(1_000_040),
            server: Stamp::from_unix_millis(1_000_320),
        };
        let clock = ServerClock::of(sample);
        let table = [(0, 1_000_300), (20, 1_000_320), (40, 1_000_340), (5_020, 1_005_320)];
        for (after, expected) in table {
            assert_eq!(clock.at(asked + ms(after)), Stamp::from_unix_millis(expected), "{after}");
        }
        assert_eq!(clock.uncertainty(), ms(21));
        assert_eq!(clock.offset_ms(), 300);
    }

    #[test]
    fn offsets_have_a_sign() {
        let asked = Instant::now();
        let wall = UNIX_EPOCH + Duration::from_millis(5_000);
        let sample =
            Sample { asked, answered: asked, wall, server: Stamp::from_unix_millis(4_000) };
        assert_eq!(ServerClock::of(sample).offset_ms(), -1_000);
    }
}
