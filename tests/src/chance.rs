//! Chance that a failed test can have again: the same seed, the same decisions.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`.
    ///
    /// # Panics
    /// Where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a count");
        usize::try_from(self.next_u64() % end).expect("below a usize")
    }

    /// Between the two, both included.
    ///
    /// # Panics
    /// Where they are far apart.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let range_ms = usize::try_from((most - least).as_millis()).expect("some minutes");
        let more_ms = u64::try_from(self.below(range_ms + 1)).expect("some minutes");
        least + Duration::from_millis(more_ms)
    }
}
