//! How long to wait before trying again: longer each time, and never all clients at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// A pause before the `round`-th repetition, the first being 0.
pub(crate) fn pause(round: u32) -> Duration {
    let longest = longest(round);
    let spread = u64::try_from(longest.as_micros() / 2).unwrap_or(u64::MAX).max(1);
    longest - Duration::from_micros(random() % spread)
}

fn longest(round: u32) -> Duration {
    FIRST.saturating_mul(1 << round.min(16)).min(LONGEST)
}

fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_keep_at_least_half() {
        for (round, longest) in [(0, 50), (1, 100), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            let longest = Duration::from_millis(longest);
            for _ in 0..100 {
                let pause = pause(round);
                assert!(longest / 2 <= pause && pause <= longest, "{round}: {pause:?}");
            }
        }
    }
}
