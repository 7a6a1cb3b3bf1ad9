//! The state database: a row a session, what was answered and pushed, and how far the log has
//! been applied.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use rocksdb::{DB, WriteBatch, WriteOptions};
use synckairos_protocol::{
    answered::{Answered, Record},
    codec::{DecodeError, EncodeError},
    event::Change,
    ids::SessionId,
    machine::{LEVEL_OLDEST, Machine, Parts},
    roster::Roster,
    session::Session,
};

use super::{
    history::History,
    meta::StateMeta,
    rows::{self, StoredUpdate},
    view::View,
};
use crate::{
    layout::Layout,
    rocks::{self, DatabaseError},
    snapshot::format::{ReadRow, StoredRow},
};

pub(super) const META_KEY: &[u8] = b"meta";
pub(super) const ROSTER_KEY: &[u8] = b"roster";

/// Why state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Open(#[from] DatabaseError),
    #[error(transparent)]
    Database(#[from] rocksdb::Error),
    #[error("row {key}: {source}")]
    Row { key: String, source: DecodeError },
    #[error("position: {0}")]
    Meta(DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("{actual} {what}, {announced} announced")]
    WrongCount { what: &'static str, actual: u64, announced: u64 },
    #[error("row {key} has a key of another form")]
    Key { key: String },
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
            | Self::Open(_)
            | Self::Database(_)
            | Self::Encode(_)
            | Self::WrongCount { .. }
            | Self::Key { .. } => None,
        }
    }
}

/// One of the databases `state.N`.
pub(crate) struct StateDb {
    db: DB,
    number: u64,
    stored: Mutex<Stored>,
    /// After the database, which must be closed before its files go.
    files: Files,
}

/// What the database holds beside sessions.
#[derive(Default)]
struct Stored {
    answered: Range<u64>,
    roster: Option<Roster>,
    history: History,
}

/// Removes a directory when dropped, if told to.
struct Files {
    path: PathBuf,
    retired: AtomicBool,
}

impl StateDb {
    pub(crate) fn open(layout: &Layout, number: u64) -> Result<Self, DatabaseError> {
        let path = layout.state(number);
        let db = rocks::open_state(&path)?;
        let files = Files { path, retired: AtomicBool::new(false) };
        Ok(Self { db, number, stored: Mutex::default(), files })
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
    pub(crate) fn load(&self) -> Result<(Machine, StateMeta), StateError> {
        let view = self.view();
        let meta = view.meta()?;
        let mut sessions: Vec<Session> = Vec::new();
        view.for_each(rocks::SESSIONS, |key, row| {
            let session = rows::decode_session(row);
            sessions.push(session.map_err(|source| StateError::Row { key: hex(key), source })?);
            Ok::<_, StateError>(())
        })?;
        require("sessions", sessions.len(), meta.sessions)?;
        #[cfg(feature = "planted-bugs")]
        crate::planted::put_back_newest(&view, &mut sessions)?;
        let mut records: Vec<Record> = Vec::new();
        view.for_each(rocks::ANSWERED, |key, row| {
            let record = rows::decode_record(row);
            records.push(record.map_err(|source| StateError::Row { key: hex(key), source })?);
            Ok::<_, StateError>(())
        })?;
        require("answers", records.len(), meta.answered)?;
        let answered = Answered::restore(meta.answered_first, records);
        let roster = self.read_roster()?;
        *self.stored() = Stored {
            answered: answered.range(),
            roster: roster.clone(),
            history: History::restore(view.update_places()?),
        };
        drop(view);
        let roster = roster.unwrap_or_else(|| roster_of(&meta));
        let StateMeta { now, level, .. } = meta;
        Ok((Machine::from_parts(Parts { now, level, sessions, answered, roster }), meta))
    }

    fn read_roster(&self) -> Result<Option<Roster>, StateError> {
        let stored = self.db.get_cf(rocks::family(&self.db, rocks::META), ROSTER_KEY)?;
        stored.map(|row| rows::decode_roster(&row).map_err(StateError::Meta)).transpose()
    }

    /// Writes what a run of entries changed, and the position after them, as one. Not synced: the
    /// log holds the entries until a synced snapshot covers them.
    pub(crate) fn write(
        &self,
        changed: &Changed,
        meta: &StateMeta,
        window: u64,
    ) -> Result<(), StateError> {
        let sessions = rocks::family(&self.db, rocks::SESSIONS);
        let mut batch = WriteBatch::default();
        for (id, session) in &changed.sessions {
            match session {
                Some(session) => {
                    batch.put_cf(sessions, id.to_key(), rows::encode_session(session, meta.level)?);
                }
                None => batch.delete_cf(sessions, id.to_key()),
            }
        }
        let mut stored = self.stored();
        self.put_updates(&mut batch, changed, &mut stored.history, window)?;
        self.put_answered(&mut batch, changed, &mut stored.answered)?;
        if let Some(roster) = &changed.roster {
            self.put_roster(&mut batch, roster)?;
            stored.roster = Some(roster.clone());
        }
        batch.put_cf(rocks::family(&self.db, rocks::META), META_KEY, meta.encode()?);
        Ok(self.db.write(batch)?)
    }

    fn put_updates(
        &self,
        batch: &mut WriteBatch,
        changed: &Changed,
        history: &mut History,
        window: u64,
    ) -> Result<(), StateError> {
        let family = rocks::family(&self.db, rocks::UPDATES);
        let mut removed = Vec::new();
        for one in &changed.updates {
            let (id, update) = match one {
                Kept::Update(update) => (update.session.id, update),
                Kept::Deleted(id) => {
                    history.forget(*id, &mut removed);
                    continue;
                }
            };
            let version = update.session.version;
            if history.next_version(id).is_some_and(|next| next != version) {
                history.forget(id, &mut removed);
            }
            let row = rows::encode_update(update)?;
            let revision = update.revision;
            history.add(id, version, revision, row.len() as u64);
            batch.put_cf(family, rows::update_key(id, version, revision), row);
            history.trim(id, window, &mut removed);
        }
        for key in removed {
            batch.delete_cf(family, key);
        }
        Ok(())
    }

    fn put_answered(
        &self,
        batch: &mut WriteBatch,
        changed: &Changed,
        stored: &mut Range<u64>,
    ) -> Result<(), StateError> {
        let family = rocks::family(&self.db, rocks::ANSWERED);
        for number in stored.start..stored.end.min(changed.answered.start) {
            batch.delete_cf(family, number.to_be_bytes());
        }
        for (number, record) in &changed.records {
            batch.put_cf(family, number.to_be_bytes(), rows::encode_record(record)?);
        }
        *stored = changed.answered.clone();
        Ok(())
    }

    fn put_roster(&self, batch: &mut WriteBatch, roster: &Roster) -> Result<(), StateError> {
        let row = rows::encode_roster(roster)?;
        batch.put_cf(rocks::family(&self.db, rocks::META), ROSTER_KEY, row);
        Ok(())
    }

    /// What changed in the machine beside its sessions since the last write.
    pub(crate) fn note_rest(&self, machine: &Machine, changed: &mut Changed) {
        let stored = self.stored();
        let answered = machine.answered();
        changed.answered = answered.range();
        let new = stored.answered.end.max(changed.answered.start)..changed.answered.end;
        changed.records.extend(new.filter_map(|number| {
            answered.record(number).map(|record| (number, Arc::clone(record)))
        }));
        // At level 1 nobody stores it, and nodes need not agree on it.
        if LEVEL_OLDEST < machine.level() && stored.roster.as_ref() != Some(machine.roster()) {
            changed.roster = Some(machine.roster().clone());
        }
    }

    pub(crate) fn import_rows(&self, rows: &[StoredRow]) -> Result<(), rocksdb::Error> {
        let sessions = rocks::family(&self.db, rocks::SESSIONS);
        let answered = rocks::family(&self.db, rocks::ANSWERED);
        let updates = rocks::family(&self.db, rocks::UPDATES);
        let mut batch = WriteBatch::default();
        for (read, row) in rows {
            match read {
                ReadRow::Session(session) => batch.put_cf(sessions, session.id.to_key(), row),
                ReadRow::Answered(number, _) => {
                    batch.put_cf(answered, number.to_be_bytes(), row);
                }
                ReadRow::Update(update) => {
                    let (id, version) = (update.session.id, update.session.version);
                    batch.put_cf(updates, rows::update_key(id, version, update.revision), row);
                }
            }
        }
        self.db.write(batch)
    }

    /// The last write of an import: syncs it and everything before it.
    pub(crate) fn import_rest(&self, meta: &StateMeta, machine: &Machine) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        let meta_row = meta.encode().map_err(io::Error::other)?;
        batch.put_cf(rocks::family(&self.db, rocks::META), META_KEY, meta_row);
        let mut stored = Stored { answered: machine.answered().range(), ..Stored::default() };
        if LEVEL_OLDEST < meta.level {
            self.put_roster(&mut batch, machine.roster()).map_err(io::Error::other)?;
            stored.roster = Some(machine.roster().clone());
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(io::Error::other)?;
        stored.history = History::restore(self.view().update_places().map_err(io::Error::other)?);
        *self.stored() = stored;
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), rocksdb::Error> {
        self.db.flush_wal(true)
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::of(&self.db)
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().expect("nobody panics while noting what is stored")
    }
}

/// The members are all that a database of level 1 knows of it.
pub(crate) fn roster_of(meta: &StateMeta) -> Roster {
    Roster::of_members(meta.membership.membership.nodes.iter().map(|node| node.id))
}

fn require(what: &'static str, actual: usize, announced: u64) -> Result<(), StateError> {
    let actual = actual as u64;
    if actual == announced {
        Ok(())
    } else {
        Err(StateError::WrongCount { what, actual, announced })
    }
}

/// What a run of entries changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// As the run left them; `None` where deleted.
    sessions: BTreeMap<SessionId, Option<Arc<Session>>>,
    /// In order.
    updates: Vec<Kept>,
    answered: Range<u64>,
    records: Vec<(u64, Arc<Record>)>,
    roster: Option<Roster>,
}

#[derive(Debug)]
enum Kept {
    Update(StoredUpdate),
    Deleted(SessionId),
}

impl Changed {
    pub(crate) fn note(&mut self, revision: u64, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Updated { session, event, cause } => {
                    self.sessions.insert(session.id, Some(Arc::clone(session)));
                    let (event, cause, session) = (event.clone(), *cause, Arc::clone(session));
                    self.updates.push(Kept::Update(StoredUpdate {
                        revision,
                        event,
                        cause,
                        session,
                    }));
                }
                Change::Warned { session, .. } => {
                    self.sessions.insert(session.id, Some(Arc::clone(session)));
                }
                Change::Deleted { session, .. } => {
                    self.sessions.insert(*session, None);
                    self.updates.push(Kept::Deleted(*session));
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

pub(super) fn read_meta(stored: Option<Vec<u8>>) -> Result<StateMeta, StateError> {
    match stored {
        Some(stored) => StateMeta::decode(&stored).map_err(StateError::Meta),
        None => Ok(StateMeta::default()),
    }
}

pub(super) fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
