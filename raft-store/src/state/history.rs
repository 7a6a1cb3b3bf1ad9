//! Which updates of which sessions are kept for subscribers that were away, and which go.
//!
//! The rows are in the database; here is only where they are. They are no part of the replicated
//! state: a node may keep more or fewer of them.

use std::collections::{BTreeMap, VecDeque};

use synckairos_protocol::ids::SessionId;

use super::rows::{UPDATE_KEY_BYTES, update_key};

/// Of one session.
const SESSION_BYTES_MAX: u64 = 1024 * 1024;
/// Of all sessions; beyond it the oldest go.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The order is tidied when so many more rows stand in it than there are.
const STALE_MAX: usize = 4_096;

type Key = [u8; UPDATE_KEY_BYTES];

#[derive(Clone, Copy, Debug)]
struct Place {
    revision: u64,
    bytes: u64,
}

/// The rows of one session: an unbroken range of versions.
#[derive(Debug)]
struct Kept {
    first: u64,
    places: VecDeque<Place>,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    sessions: BTreeMap<SessionId, Kept>,
    /// Oldest first. May name rows that are gone.
    order: VecDeque<(SessionId, u64)>,
    rows: usize,
    bytes: u64,
}

impl History {
    /// The rows that a database holds, in any order.
    pub(crate) fn restore(mut rows: Vec<(SessionId, u64, u64, u64)>) -> Self {
        rows.sort_unstable_by_key(|(session, version, revision, _)| {
            (*revision, *session, *version)
        });
        let mut history = Self::default();
        for (session, version, revision, bytes) in rows {
            history.add(session, version, revision, bytes);
        }
        history
    }

    /// A row was written.
    pub(crate) fn add(&mut self, session: SessionId, version: u64, revision: u64, bytes: u64) {
        let kept = self.sessions.entry(session).or_insert_with(|| Kept {
            first: version,
            places: VecDeque::new(),
            bytes: 0,
        });
        kept.places.push_back(Place { revision, bytes });
        kept.bytes += bytes;
        self.order.push_back((session, version));
        self.rows += 1;
        self.bytes += bytes;
    }

    /// The version after the newest that is kept; `None` where none is.
    pub(crate) fn next_version(&self, session: SessionId) -> Option<u64> {
        self.sessions.get(&session).map(Kept::end)
    }

    /// Forgets the session, and names its rows.
    pub(crate) fn forget(&mut self, session: SessionId, removed: &mut Vec<Key>) {
        while self.sessions.contains_key(&session) {
            self.forget_oldest_of(session, removed);
        }
    }

    /// Forgets what is beyond the bounds, and names its rows. `window` is in versions.
    pub(crate) fn trim(&mut self, session: SessionId, window: u64, removed: &mut Vec<Key>) {
        while self.sessions.get(&session).is_some_and(|kept| {
            let rows = kept.places.len() as u64;
            window.max(1) < rows || (SESSION_BYTES_MAX < kept.bytes && 1 < rows)
        }) {
            self.forget_oldest_of(session, removed);
        }
        while BYTES_MAX < self.bytes
            && let Some((oldest, version)) = self.order.pop_front()
        {
            // The newest row of a session stays: without it a resume at the present would fail.
            if self
                .sessions
                .get(&oldest)
                .is_some_and(|kept| kept.first <= version && 1 < kept.places.len())
            {
                self.forget_oldest_of(oldest, removed);
            }
        }
        if 2 * self.rows + STALE_MAX < self.order.len() {
            let sessions = &self.sessions;
            self.order.retain(|(session, version)| {
                sessions.get(session).is_some_and(|kept| kept.first <= *version)
            });
        }
    }

    fn forget_oldest_of(&mut self, session: SessionId, removed: &mut Vec<Key>) {
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        if let Some(place) = kept.places.pop_front() {
            removed.push(update_key(session, kept.first, place.revision));
            kept.first += 1;
            kept.bytes -= place.bytes;
            self.rows -= 1;
            self.bytes -= place.bytes;
        }
        if kept.places.is_empty() {
            self.sessions.remove(&session);
        }
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::from_bits(number)
    }

    fn versions(removed: &[Key]) -> Vec<u64> {
        let version = |key: &Key| super::super::rows::read_update_key(key).unwrap().1;
        removed.iter().map(version).collect()
    }

    #[test]
    fn a_session_keeps_its_window() {
        let (mut history, mut removed) = (History::default(), Vec::new());
        for version in 1..=10 {
            history.add(session(1), version, 100 + version, 50);
            history.trim(session(1), 4, &mut removed);
        }
        assert_eq!(versions(&removed), [1, 2, 3, 4, 5, 6]);
        assert_eq!(history.next_version(session(1)), Some(11));
        assert_eq!((history.rows, history.bytes), (4, 200));
        history.forget(session(1), &mut removed);
        assert_eq!((history.rows, history.bytes), (0, 0));
        assert_eq!(history.next_version(session(1)), None);
    }

    #[test]
    fn a_session_keeps_few_large_rows() {
        let (mut history, mut removed) = (History::default(), Vec::new());
        for version in 1..=5 {
            history.add(session(1), version, version, SESSION_BYTES_MAX / 2);
            history.trim(session(1), 1_024, &mut removed);
        }
        assert_eq!(versions(&removed), [1, 2, 3]);
    }

    #[test]
    fn of_all_sessions_the_oldest_rows_go() {
        let (mut history, mut removed) = (History::default(), Vec::new());
        let bytes = SESSION_BYTES_MAX / 2;
        let sessions = u128::from(BYTES_MAX / bytes);
        for version in 1..=2 {
            for number in 0..sessions {
                history.add(session(number), version, version, bytes);
                history.trim(session(number), 1_024, &mut removed);
            }
        }
        assert_eq!(removed.len(), usize::try_from(sessions).unwrap());
        assert!(versions(&removed).iter().all(|version| *version == 1));
        assert!(history.bytes <= BYTES_MAX);
    }

    #[test]
    fn the_order_does_not_grow_with_what_is_gone() {
        let (mut history, mut removed) = (History::default(), Vec::new());
        for version in 1..=50_000 {
            history.add(session(1), version, version, 10);
            history.trim(session(1), 8, &mut removed);
        }
        assert!(history.order.len() <= 2 * 8 + STALE_MAX + 1);
    }
}
