//! The applied state in memory, for whoever reads it.

use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use synckairos_protocol::{
    ids::SessionId,
    machine::{LEVEL_OLDEST, Machine},
    session::Session,
    time::Stamp,
};
use tokio::sync::watch;

use super::{
    db::{StateDb, StateError},
    meta::StateMeta,
    rows::{self, StoredUpdate},
};
use crate::{
    layout::DirectoryLock,
    raft_types::{LogId, StoredMembership},
};

pub(super) struct StateShared {
    machine: RwLock<Machine>,
    position: Mutex<Position>,
    db: Mutex<Arc<StateDb>>,
    applied: watch::Sender<Option<u64>>,
    /// After the database: the directory is free once it is closed.
    _lock: Arc<DirectoryLock>,
}

/// How far the log has been applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    pub(super) last_applied: Option<LogId>,
    pub(super) membership: StoredMembership,
}

impl Position {
    pub(super) fn meta(&self, machine: &Machine) -> StateMeta {
        let answered = machine.answered().range();
        StateMeta {
            last_applied: self.last_applied.as_ref().map(Into::into),
            membership: (&self.membership).into(),
            now: machine.now(),
            sessions: machine.sessions().len() as u64,
            level: machine.level(),
            answered_first: answered.start,
            answered: answered.end - answered.start,
        }
    }
}

impl StateShared {
    pub(super) fn new(
        db: StateDb,
        machine: Machine,
        position: Position,
        lock: Arc<DirectoryLock>,
    ) -> Self {
        let applied = position.last_applied.map(|log_id| log_id.index);
        Self {
            machine: RwLock::new(machine),
            position: Mutex::new(position),
            db: Mutex::new(Arc::new(db)),
            applied: watch::Sender::new(applied),
            _lock: lock,
        }
    }

    pub(super) fn machine(&self) -> RwLockReadGuard<'_, Machine> {
        self.machine.read().expect(LOCK)
    }

    pub(super) fn machine_mut(&self) -> RwLockWriteGuard<'_, Machine> {
        self.machine.write().expect(LOCK)
    }

    pub(super) fn position(&self) -> Position {
        self.lock_position().clone()
    }

    pub(super) fn db(&self) -> Arc<StateDb> {
        Arc::clone(&self.db.lock().expect(LOCK))
    }

    /// Makes a position visible, after what it covers is.
    pub(super) fn publish(&self, position: Position) {
        let index = position.last_applied.map(|log_id| log_id.index);
        *self.lock_position() = position;
        self.applied.send_replace(index);
    }

    /// Replaces everything, and returns the database that was in use.
    pub(super) fn replace(
        &self,
        db: StateDb,
        machine: Machine,
        position: Position,
    ) -> Arc<StateDb> {
        *self.machine_mut() = machine;
        let before = std::mem::replace(&mut *self.db.lock().expect(LOCK), Arc::new(db));
        self.publish(position);
        before
    }

    fn lock_position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().expect(LOCK)
    }
}

/// A panic while applying leaves state that nobody may read.
const LOCK: &str = "the process ends when applying panics";

/// Reads of the applied state. Cheap to clone; none of its methods but
/// [`Applied::updates_after`] waits for a disk.
#[derive(Clone)]
pub struct Applied {
    pub(super) shared: Arc<StateShared>,
}

impl Applied {
    pub fn session(&self, id: SessionId) -> Option<Arc<Session>> {
        self.shared.machine().session(id).map(Arc::clone)
    }

    /// Where the applied state is stored, for those who may wait for a disk.
    pub(crate) fn database(&self) -> Arc<StateDb> {
        self.shared.db()
    }

    pub fn session_count(&self) -> usize {
        self.shared.machine().sessions().len()
    }

    /// The earliest instant at which a `Tick` has something to do.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.shared.machine().next_deadline()
    }

    /// Since when the longest idle removable session has not changed.
    pub fn longest_idle(&self) -> Option<Stamp> {
        self.shared.machine().longest_idle()
    }

    /// The largest stamp applied.
    pub fn now(&self) -> Stamp {
        self.shared.machine().now()
    }

    /// The format level: what every node of the cluster understands.
    pub fn level(&self) -> u16 {
        self.shared.machine().level()
    }

    /// The updates of a session after `version`, in order; the last one is of some moment between
    /// call and return. `None` where they are not all kept any more, where the session never
    /// reached that version, or where it was reached at another `revision`, by another session of
    /// the same id. Blocks for the disk.
    ///
    /// # Errors
    /// [`StateError`] where the database cannot be read.
    pub fn updates_after(
        &self,
        session: SessionId,
        version: u64,
        revision: Option<u64>,
    ) -> Result<Option<Vec<StoredUpdate>>, StateError> {
        self.shared.db().view().updates_after(session, version, revision)
    }

    /// Runs `read` on the machine. Applying waits meanwhile, so it must be short.
    pub fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        read(&self.shared.machine())
    }

    /// Index of the last applied entry; `None` before the first.
    pub fn applied_index(&self) -> Option<u64> {
        *self.shared.applied.borrow()
    }

    /// Changes with every entry that is applied: the index of the last one.
    pub fn watch_applied(&self) -> watch::Receiver<Option<u64>> {
        self.shared.applied.subscribe()
    }

    /// Waits until the entry of this index has been applied; the caller sets a deadline.
    pub async fn wait_applied(&self, index: u64) {
        let mut applied = self.shared.applied.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = applied.wait_for(|applied| applied.is_some_and(|applied| index <= applied)).await;
    }

    /// A hash over all that is replicated, in its order: equal on all nodes that have applied the
    /// same entries. Reads everything; for tests and inspection.
    pub fn state_hash(&self) -> [u8; 32] {
        const STORED: &str = "what was applied has been stored in this form";
        let machine = self.shared.machine();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&machine.now().unix_millis().to_le_bytes());
        for session in machine.sessions() {
            hasher.update(&rows::encode_session(session, machine.level()).expect(STORED));
        }
        if LEVEL_OLDEST < machine.level() {
            hasher.update(&machine.level().to_le_bytes());
            let answered = machine.answered();
            for record in answered.range().filter_map(|number| answered.record(number)) {
                hasher.update(&rows::encode_record(record).expect(STORED));
            }
            hasher.update(&rows::encode_roster(machine.roster()).expect(STORED));
        }
        *hasher.finalize().as_bytes()
    }
}
