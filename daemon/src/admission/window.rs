//! A fixed-window counter for each key: so many hits, then none until the window is over. A key's
//! window begins with its first hit.

use std::{collections::HashMap, hash::Hash};

use synckairos_protocol::time::Millis;

/// What came of one hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) limit: u32,
    pub(crate) window: Millis,
    pub(crate) remaining: u32,
    /// Time until the key's window is over.
    pub(crate) reset: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Millis,
    hits: u32,
}

/// Counters in two generations: whoever was not seen for a whole window is forgotten without a
/// search for them.
#[derive(Debug)]
pub(crate) struct FixedWindows<K> {
    limit: u32,
    window: Millis,
    keys_max: usize,
    young: HashMap<K, Window>,
    old: HashMap<K, Window>,
    turned: Millis,
}

impl<K: Hash + Eq> FixedWindows<K> {
    /// Allows `limit` hits a `window`; a generation holds `keys_max` keys at most.
    pub(crate) fn new(limit: u32, window: Millis, keys_max: usize) -> Self {
        Self {
            limit,
            window,
            keys_max,
            young: HashMap::new(),
            old: HashMap::new(),
            turned: Millis::ZERO,
        }
    }

    /// Counts one hit of `key`, refused ones too. `now` must not decrease from call to call.
    pub(crate) fn hit(&mut self, key: K, now: Millis) -> Verdict {
        self.turn_generations(now);
        let known = self.young.get(&key).copied().or_else(|| self.old.remove(&key));
        let mut current = known
            .filter(|window| now < window.began.saturating_add(self.window))
            .unwrap_or(Window { began: now, hits: 0 });
        current.hits = current.hits.saturating_add(1);
        self.young.insert(key, current);
        Verdict {
            allowed: current.hits <= self.limit,
            limit: self.limit,
            window: self.window,
            remaining: self.limit.saturating_sub(current.hits),
            reset: current.began.saturating_add(self.window).saturating_sub(now),
        }
    }

    fn turn_generations(&mut self, now: Millis) {
        let age = now.saturating_sub(self.turned);
        if age < self.window && self.young.len() < self.keys_max {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        // Two windows without a hit: not even the older generation can matter.
        if self.window.saturating_add(self.window) <= age {
            self.old.clear();
        }
        self.turned = now;
    }
}

impl Verdict {
    /// Whole seconds until the window is over, rounded up.
    pub(crate) const fn reset_seconds(self) -> u64 {
        self.reset.get().div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Millis {
        Millis::new(millis)
    }

    #[test]
    fn windows_are_fixed_from_the_first_hit() {
        let mut windows = FixedWindows::new(2, at(1_000), 100);
        let table = [
            // (at, allowed, remaining, reset)
            (5_300, true, 1, 1_000),
            (5_400, true, 0, 900),
            (5_500, false, 0, 800),
            (6_299, false, 0, 1),
            (6_300, true, 1, 1_000),
            (9_999, true, 1, 1_000),
        ];
        for (now, allowed, remaining, reset) in table {
            let verdict = windows.hit("key", at(now));
            assert_eq!(
                (verdict.allowed, verdict.remaining, verdict.reset),
                (allowed, remaining, at(reset)),
                "at {now}"
            );
        }
    }

    #[test]
    fn keys_do_not_share_a_window() {
        let mut windows = FixedWindows::new(1, at(1_000), 100);
        assert!(windows.hit("a", at(0)).allowed);
        assert!(windows.hit("b", at(0)).allowed);
        assert!(!windows.hit("a", at(0)).allowed);
    }

    #[test]
    fn a_turn_of_generations_forgets_nobody_early() {
        let mut windows = FixedWindows::new(1, at(1_000), 100);
        assert!(windows.hit("a", at(0)).allowed);
        assert!(windows.hit("b", at(900)).allowed);
        assert!(windows.hit("c", at(1_001)).allowed);
        assert!(!windows.hit("b", at(1_800)).allowed);
        assert!(windows.hit("b", at(1_900)).allowed);
    }

    #[test]
    fn the_table_stays_within_two_generations() {
        let mut windows = FixedWindows::new(1, at(1_000), 10);
        for key in 0..1_000 {
            windows.hit(key, at(1));
            assert!(windows.young.len() + windows.old.len() <= 20);
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        let mut windows = FixedWindows::new(1, at(60_000), 10);
        windows.hit("a", at(0));
        assert_eq!(windows.hit("a", at(6_001)).reset_seconds(), 54);
        assert_eq!(windows.hit("a", at(6_000)).reset_seconds(), 54);
    }
}
