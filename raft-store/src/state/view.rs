//! The state database as it was at one moment, for readers that must not see half of a write.

use rocksdb::{DB, Direction, IteratorMode, SnapshotWithThreadMode};
use synckairos_protocol::{ids::SessionId, roster::Roster};

use super::{
    db::{META_KEY, StateError, hex, read_meta},
    meta::StateMeta,
    rows::{self, SESSION_KEY_BYTES, StoredUpdate},
};
use crate::rocks;

pub(crate) struct View<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl<'a> View<'a> {
    pub(super) fn of(db: &'a DB) -> Self {
        Self { db, snapshot: db.snapshot() }
    }
}

impl View<'_> {
    pub(crate) fn meta(&self) -> Result<StateMeta, StateError> {
        read_meta(self.snapshot.get_cf(rocks::family(self.db, rocks::META), META_KEY)?)
    }

    pub(crate) fn roster(&self) -> Result<Option<Roster>, StateError> {
        let stored =
            self.snapshot.get_cf(rocks::family(self.db, rocks::META), super::db::ROSTER_KEY)?;
        stored.map(|row| rows::decode_roster(&row).map_err(StateError::Meta)).transpose()
    }

    /// Every row of a family, in the order of their keys.
    pub(crate) fn for_each<E: From<rocksdb::Error>>(
        &self,
        family: &str,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = rocks::family(self.db, family);
        for item in self.snapshot.iterator_cf(rows, IteratorMode::Start) {
            let (key, row) = item?;
            visit(&key, &row)?;
        }
        Ok(())
    }

    /// Session, version, revision and size of every update that is kept.
    pub(super) fn update_places(&self) -> Result<Vec<(SessionId, u64, u64, u64)>, StateError> {
        let mut places = Vec::new();
        self.for_each(rocks::UPDATES, |key, row| {
            let place = rows::read_update_key(key).and_then(|(id, version, revision)| {
                Some((SessionId::from_key(id)?, version, revision))
            });
            let (id, version, revision) = place.ok_or_else(|| StateError::Key { key: hex(key) })?;
            places.push((id, version, revision, row.len() as u64));
            Ok::<_, StateError>(())
        })?;
        Ok(places)
    }

    /// The updates after `version`. `None` where they are not kept any more, where the session
    /// never reached that version, or, where `revision` is given, reached it in another life.
    pub(crate) fn updates_after(
        &self,
        session: SessionId,
        version: u64,
        revision: Option<u64>,
    ) -> Result<Option<Vec<StoredUpdate>>, StateError> {
        let sessions = rocks::family(self.db, rocks::SESSIONS);
        let current = match self.snapshot.get_cf(sessions, session.to_key())? {
            Some(row) => {
                let row = rows::decode_session(&row);
                let key = || hex(&session.to_key());
                row.map_err(|source| StateError::Row { key: key(), source })?.version
            }
            None => 0,
        };
        if current < version {
            return Ok(None);
        }
        let from = rows::update_key(session, version, 0);
        let updates = rocks::family(self.db, rocks::UPDATES);
        let mode = IteratorMode::From(&from, Direction::Forward);
        let mut found: Vec<StoredUpdate> = Vec::new();
        let mut known = revision.filter(|_| version != 0).is_none();
        for item in self.snapshot.iterator_cf(updates, mode) {
            let (key, row) = item?;
            let Some((id, at_version, at_revision)) = rows::read_update_key(&key) else {
                return Err(StateError::Key { key: hex(&key) });
            };
            if id != &session.to_key()[..SESSION_KEY_BYTES] {
                break;
            }
            if at_version == version {
                known |= revision == Some(at_revision);
                continue;
            }
            let update = rows::decode_update(&row)
                .map_err(|source| StateError::Row { key: hex(&key), source })?;
            found.push(update);
        }
        let first = found.first().map_or(current + 1, |update| update.session.version);
        let unbroken = first == version + 1 && version + found.len() as u64 == current;
        Ok((known && unbroken).then_some(found))
    }
}
