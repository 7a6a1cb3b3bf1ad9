//! The state database: a row a session, and how far the log has been applied.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rocksdb::{DB, IteratorMode, SnapshotWithThreadMode, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    codec::{self, DecodeError, EncodeError, Kind},
    event::Change,
    ids::SessionId,
    machine::Machine,
    session::Session,
    time::Stamp,
};

use crate::{
    layout::Layout,
    rocks,
    snapshot::format::{ROW_FORMAT, ReadRow},
    wire::{LogIdV1, StoredMembershipV1},
};

const META_KEY: &[u8] = b"meta";
const STATE_META_FORMAT: u16 = 1;

/// What belongs to the rows; written in the same batch with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateMetaV1 {
    pub(crate) last_applied: Option<LogIdV1>,
    pub(crate) membership: StoredMembershipV1,
    /// The largest stamp applied.
    pub(crate) now: Stamp,
    pub(crate) sessions: u64,
}

/// Why state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(transparent)]
    Database(#[from] rocksdb::Error),
    #[error("row {key}: {source}")]
    Row { key: String, source: DecodeError },
    #[error("position: {0}")]
    Meta(DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("{actual} sessions, {announced} announced")]
    WrongCount { actual: u64, announced: u64 },
}

impl StateError {
    /// The newest version here, and the one found, where the state was written by a newer one.
    pub(crate) fn newer_format(&self) -> Option<(u16, u16)> {
        match self {
            Self::Row { source: DecodeError::NewerFormat { actual, newest, .. }, .. }
            | Self::Meta(DecodeError::NewerFormat { actual, newest, .. }) => {
                Some((*newest, *actual))
            }
            Self::Row { .. }
            | Self::Meta(_)
            | Self::Database(_)
            | Self::Encode(_)
            | Self::WrongCount { .. } => None,
        }
    }
}

/// One of the databases `state.N`.
pub(crate) struct StateDb {
    db: DB,
    number: u64,
    /// After the database, which must be closed before its files go.
    files: Files,
}

/// Removes a directory when dropped, if told to.
struct Files {
    path: PathBuf,
    retired: AtomicBool,
}

impl StateDb {
    pub(crate) fn open(layout: &Layout, number: u64) -> Result<Self, rocksdb::Error> {
        let path = layout.state(number);
        let db = rocks::open_state(&path)?;
        Ok(Self { db, number, files: Files { path, retired: AtomicBool::new(false) } })
    }

    /// An empty database, whatever may have been there.
    pub(crate) fn create(layout: &Layout, number: u64) -> io::Result<Self> {
        let path = layout.state(number);
        match fs::remove_dir_all(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let db = Self::open(layout, number).map_err(io::Error::other)?;
        crate::layout::sync_directory(layout.root())?;
        Ok(db)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Removes the database once its last user is done with it.
    pub(crate) fn retire(&self) {
        self.files.retired.store(true, Ordering::Release);
    }

    /// All of it, checked.
    pub(crate) fn load(&self) -> Result<(Machine, StateMetaV1), StateError> {
        let meta = read_meta(self.db.get_cf(rocks::family(&self.db, rocks::META), META_KEY)?)?;
        let mut sessions: Vec<Session> = Vec::new();
        let rows = rocks::family(&self.db, rocks::SESSIONS);
        for item in self.db.iterator_cf(rows, IteratorMode::Start) {
            let (key, value) = item?;
            let session: Session = codec::decode(Kind::SessionRow, ROW_FORMAT, &value)
                .map_err(|source| StateError::Row { key: hex(&key), source })?;
            sessions.push(session);
        }
        let actual = sessions.len() as u64;
        if actual != meta.sessions {
            return Err(StateError::WrongCount { actual, announced: meta.sessions });
        }
        Ok((Machine::restore(meta.now, sessions), meta))
    }

    /// Writes what a run of entries changed, and the position after them, as one. Not synced: the
    /// log holds the entries until a synced snapshot covers them.
    pub(crate) fn write(&self, changed: &Changed, meta: &StateMetaV1) -> Result<(), StateError> {
        let rows = rocks::family(&self.db, rocks::SESSIONS);
        let mut batch = WriteBatch::default();
        for (id, session) in &changed.0 {
            match session {
                Some(session) => {
                    let row = codec::encode(Kind::SessionRow, ROW_FORMAT, session.as_ref())?;
                    batch.put_cf(rows, id.to_key(), row);
                }
                None => batch.delete_cf(rows, id.to_key()),
            }
        }
        self.put_meta(&mut batch, meta)?;
        Ok(self.db.write(batch)?)
    }

    pub(crate) fn import_rows(&self, rows: &[ReadRow]) -> Result<(), rocksdb::Error> {
        let family = rocks::family(&self.db, rocks::SESSIONS);
        let mut batch = WriteBatch::default();
        for (session, row) in rows {
            batch.put_cf(family, session.id.to_key(), row);
        }
        self.db.write(batch)
    }

    /// The last write of an import: syncs it and everything before it.
    pub(crate) fn import_meta(&self, meta: &StateMetaV1) -> Result<(), io::Error> {
        let mut batch = WriteBatch::default();
        self.put_meta(&mut batch, meta).map_err(io::Error::other)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(io::Error::other)
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), rocksdb::Error> {
        self.db.flush_wal(true)
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { db: &self.db, snapshot: self.db.snapshot() }
    }

    fn put_meta(&self, batch: &mut WriteBatch, meta: &StateMetaV1) -> Result<(), EncodeError> {
        let value = codec::encode(Kind::StateMeta, STATE_META_FORMAT, meta)?;
        batch.put_cf(rocks::family(&self.db, rocks::META), META_KEY, value);
        Ok(())
    }
}

/// The database as it was at one moment.
pub(crate) struct View<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl View<'_> {
    pub(crate) fn meta(&self) -> Result<StateMetaV1, StateError> {
        read_meta(self.snapshot.get_cf(rocks::family(self.db, rocks::META), META_KEY)?)
    }

    /// The stored form of every session, ordered by id.
    pub(crate) fn for_each_row<E: From<rocksdb::Error>>(
        &self,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = rocks::family(self.db, rocks::SESSIONS);
        for item in self.snapshot.iterator_cf(rows, IteratorMode::Start) {
            visit(&item?.1)?;
        }
        Ok(())
    }
}

/// Sessions as a run of entries left them; `None` where deleted.
#[derive(Debug, Default)]
pub(crate) struct Changed(BTreeMap<SessionId, Option<Arc<Session>>>);

impl Changed {
    pub(crate) fn note(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Updated { session, .. } | Change::Warned { session, .. } => {
                    self.0.insert(session.id, Some(Arc::clone(session)));
                }
                Change::Deleted { session, .. } => {
                    self.0.insert(*session, None);
                }
            }
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove a state database; the next start does");
        }
    }
}

fn read_meta(stored: Option<Vec<u8>>) -> Result<StateMetaV1, StateError> {
    match stored {
        Some(stored) => {
            codec::decode(Kind::StateMeta, STATE_META_FORMAT, &stored).map_err(StateError::Meta)
        }
        None => Ok(StateMetaV1::default()),
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
