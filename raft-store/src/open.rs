//! Opening a node's data directory.

use std::{fs, path::PathBuf, sync::Arc};

use synckairos_protocol::machine::Machine;
use tokio::sync::{mpsc, watch};

use crate::{
    admission::Admission,
    error::OpenError,
    fatal::FatalSignal,
    identity::Identity,
    layout::{Closed, DirectoryLock, Layout},
    log::LogStore,
    log_index::next_index,
    raft_types::LogId,
    snapshot::{
        install::{self, Imported},
        shelf::Shelf,
    },
    snapshot_file::SnapshotInbox,
    state::{self, Applied, AppliedEvent, StateContext, StateStore, db::StateDb, meta::StateMeta},
};

/// Which data to open, and where its changes go.
#[derive(Debug)]
pub struct Options {
    /// Made where it does not exist.
    pub data_dir: PathBuf,
    pub identity: Identity,
    /// Applying waits while this is full, so it must be drained from the start, even before
    /// openraft runs.
    pub sink: mpsc::Sender<AppliedEvent>,
    /// Versions of each session that are kept for subscribers that were away.
    pub resume_window: u64,
}

/// An open data directory, in parts.
pub struct Opened {
    /// For openraft.
    pub log: LogStore,
    /// For openraft.
    pub state: StateStore,
    pub applied: Applied,
    /// Whether this node may take part.
    pub admission: Admission,
    /// Where the network puts snapshots from peers.
    pub inbox: SnapshotInbox,
    /// Becomes `Some` when the process must end, with the reason for its last line.
    pub fatal: watch::Receiver<Option<String>>,
    /// Resolves when all of the above is gone and closed.
    pub closed: Closed,
}

/// A node's data directory.
#[derive(Debug)]
pub struct Store;

impl Store {
    /// Opens a data directory, checks all of it, and makes it where there is none. Blocks, for about a
    /// second a gigabyte.
    ///
    /// # Errors
    /// [`OpenError`], whose message says what to do. Nothing is ever repaired by leaving entries out.
    pub fn open(options: Options) -> Result<Opened, OpenError> {
        let layout = Layout::create(&options.data_dir)?;
        let (lock, closed) = DirectoryLock::take(&layout)?;
        let lock = Arc::new(lock);
        let (fatal, fatal_raised) = FatalSignal::new();
        let log = LogStore::open(&layout, &options.identity, fatal.clone(), Arc::clone(&lock))?;
        let admission = Admission::open(&layout, log.has_data(), fatal.clone())?;
        let shelf = Arc::new(Shelf::open(&layout)?);
        let inbox = SnapshotInbox::new(layout.snapshots());
        let resume_window = options.resume_window;
        let last_stamp = log.stamps();
        let context = StateContext { layout, shelf, last_stamp, fatal, resume_window };
        let imported = open_state(&context, log.purged())?;
        remove_other_states(&context.layout, imported.db.number())?;
        let root = context.layout.root().to_owned();
        let state = StateStore::new(imported, context, options.sink, lock)
            .map_err(OpenError::io("read the state in", &root))?;
        let applied = state.applied();
        Ok(Opened { log, state, applied, admission, inbox, fatal: fatal_raised, closed })
    }
}

/// State is derived from the log, so a state database that is missing, damaged or behind is made
/// again from this node's own snapshot, or from nothing where the log still begins at the first
/// entry.
fn open_state(context: &StateContext, purged: Option<LogId>) -> Result<Imported, OpenError> {
    let layout = &context.layout;
    let root = layout.root();
    let current =
        layout.current_state_number().map_err(OpenError::io("read CURRENT-STATE in", root))?;
    let opened = match current {
        Some(number) => open_current(layout, number)?,
        None => None,
    };
    let snapshot = context.shelf.current().map_err(OpenError::io("read snapshots in", root))?;
    let reached = opened.as_ref().map(|opened| opened.meta.last_applied.map(LogId::from));
    let highest = layout.state_numbers().map_err(OpenError::io("read", root))?;
    let next_number = highest.into_iter().max().map_or(1, |number| number + 1);

    let opened = match (opened, snapshot) {
        (Some(opened), Some(snapshot)) if reached < Some(snapshot.meta.last_log_id) => {
            drop(opened);
            import(context, &snapshot, next_number)?
        }
        (Some(opened), _) => opened,
        (None, Some(snapshot)) => import(context, &snapshot, next_number)?,
        (None, None) => begin(context, next_number)?,
    };
    let applied = opened.meta.last_applied.map(LogId::from);
    if let Some(purged) = purged
        && next_index(applied) <= purged.index
    {
        let applied = applied.map(|log_id| log_id.index);
        return Err(OpenError::StateBehindLog { applied, purged: purged.index });
    }
    Ok(opened)
}

/// The state database in use; `None` where it is damaged.
fn open_current(layout: &Layout, number: u64) -> Result<Option<Imported>, OpenError> {
    let error = match state::load(layout, number) {
        Ok(opened) => return Ok(Some(opened)),
        Err(error) => error,
    };
    if let Some((newest, found)) = error.newer_format() {
        return Err(OpenError::NewerFormat { what: "the state", found, newest });
    }
    let path = layout.state(number);
    let path = path.display();
    tracing::warn!(%path, %error, "making the state again: its database cannot be read");
    Ok(None)
}

fn import(
    context: &StateContext,
    snapshot: &crate::raft_types::Snapshot,
    number: u64,
) -> Result<Imported, OpenError> {
    let path = snapshot.snapshot.path().to_owned();
    let position = snapshot.meta.to_string();
    tracing::info!(%position, "restoring the state from this node's snapshot");
    let imported = install::import(&snapshot.snapshot, &snapshot.meta, &context.layout, number)
        .map_err(|source| OpenError::unusable_snapshot(path, source))?;
    use_state(context, number)?;
    Ok(imported)
}

fn begin(context: &StateContext, number: u64) -> Result<Imported, OpenError> {
    let path = context.layout.state(number);
    let db = StateDb::create(&context.layout, number).map_err(OpenError::io("make", &path))?;
    let meta = StateMeta::default();
    let machine = Machine::default();
    db.import_rest(&meta, &machine).map_err(OpenError::io("write", &path))?;
    use_state(context, number)?;
    Ok(Imported { db, machine, meta })
}

fn use_state(context: &StateContext, number: u64) -> Result<(), OpenError> {
    let root = context.layout.root();
    context.layout.switch_state(number).map_err(OpenError::io("write CURRENT-STATE in", root))
}

/// What a crash or a replaced state left behind.
fn remove_other_states(layout: &Layout, in_use: u64) -> Result<(), OpenError> {
    let numbers = layout.state_numbers().map_err(OpenError::io("read", layout.root()))?;
    for number in numbers.into_iter().filter(|number| *number != in_use) {
        let path = layout.state(number);
        fs::remove_dir_all(&path).map_err(OpenError::io("remove", &path))?;
    }
    Ok(())
}
