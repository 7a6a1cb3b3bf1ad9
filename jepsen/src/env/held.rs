//! What waits for its moment.

use std::{collections::BTreeMap, time::Instant};

/// Things with the moments at which they are due; those of one moment stay in their order.
#[derive(Debug)]
pub(crate) struct Held<T> {
    waiting: BTreeMap<(Instant, u64), T>,
    next: u64,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), next: 0 }
    }
}

impl<T> Held<T> {
    pub(crate) fn push(&mut self, due: Instant, thing: T) {
        self.waiting.insert((due, self.next), thing);
        self.next += 1;
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// One that is due, if any is.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn things_come_out_when_due_in_their_order() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut held = Held::default();
        held.push(now + second, "later");
        held.push(now, "first");
        held.push(now, "second");
        assert_eq!(held.next_due(), Some(now));
        assert_eq!([held.pop_due(now), held.pop_due(now)], [Some("first"), Some("second")]);
        assert_eq!(held.pop_due(now), None);
        assert_eq!(held.pop_due(now + second), Some("later"));
        assert_eq!(held.next_due(), None);
    }
}
