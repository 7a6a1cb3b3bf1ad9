//! The state machine as openraft sees it: it applies entries, builds and installs snapshots.
//!
//! For each run of entries: memory first, then one atomic write to the state database, then the
//! sink, then the answers. Whoever is answered can therefore read what the answer says, and a push
//! never comes after the answer of the command that caused it.

pub(crate) mod applied;
pub(crate) mod db;
mod history;
pub(crate) mod meta;
pub(crate) mod rows;
pub(crate) mod view;

use std::{collections::BTreeSet, io, sync::Arc};

use futures_util::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use synckairos_protocol::{
    command::Command,
    event::Change,
    machine::{LEVEL_NEWEST, Machine},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::mpsc,
};

use crate::{
    fatal::FatalSignal,
    layout::{DirectoryLock, Layout},
    log::LastStamp,
    raft_types::{
        BatchAnswer, Entry, LogId, Snapshot, SnapshotFile, SnapshotMeta, StoredMembership,
        TypeConfig,
    },
    snapshot::{
        build::SnapshotBuilder,
        install::{self, Imported},
        shelf::Shelf,
    },
};
use applied::{Position, StateShared};
use db::{Changed, StateDb};
use meta::StateMeta;

pub use applied::Applied;
pub use db::StateError;
pub use rows::StoredUpdate;

/// Entries that are applied as one.
const RUN_ENTRIES_MAX: usize = 64;
/// From this many commands on, applying may take long enough to leave the reactor for.
const INLINE_COMMANDS_MAX: usize = 256;

/// What the applied state did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppliedEvent {
    /// A log entry took effect. Entries that changed nothing are not mentioned. After a crash,
    /// entries that were already mentioned before it may be mentioned again.
    Entry { revision: u64, changes: Vec<Change> },
    /// The state was replaced by a snapshot that covers the log up to `revision`; what happened in
    /// between is not known in detail.
    Installed { revision: u64 },
}

/// The replicated state of this node. openraft owns it and is its only writer.
pub struct StateStore {
    shared: Arc<StateShared>,
    sink: mpsc::Sender<AppliedEvent>,
    context: Arc<StateContext>,
}

/// What applying and installing need beside the state itself.
pub(crate) struct StateContext {
    pub(crate) layout: Layout,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) last_stamp: LastStamp,
    pub(crate) fatal: FatalSignal,
    pub(crate) resume_window: u64,
}

/// What one entry did.
struct Done {
    revision: u64,
    changes: Vec<Change>,
    answer: BatchAnswer,
}

impl StateStore {
    pub(crate) fn new(
        imported: Imported,
        context: StateContext,
        sink: mpsc::Sender<AppliedEvent>,
        lock: Arc<DirectoryLock>,
    ) -> io::Result<Self> {
        let Imported { db, machine, meta } = imported;
        context.last_stamp.raise(machine.now());
        let shared = Arc::new(StateShared::new(db, machine, position(meta)?, lock));
        Ok(Self { shared, sink, context: Arc::new(context) })
    }

    pub fn applied(&self) -> Applied {
        Applied { shared: Arc::clone(&self.shared) }
    }

    async fn apply_run(&self, run: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let (entries, responders): (Vec<Entry>, Vec<Option<ApplyResponder<TypeConfig>>>) =
            run.into_iter().unzip();
        let commands: usize = entries.iter().map(command_count).sum();
        let done = block(INLINE_COMMANDS_MAX < commands, || self.apply_entries(&entries))?;
        for (done, responder) in done.into_iter().zip(responders) {
            if !done.changes.is_empty() {
                self.emit(AppliedEvent::Entry { revision: done.revision, changes: done.changes })
                    .await;
            }
            if let Some(responder) = responder {
                responder.send(done.answer);
            }
        }
        Ok(())
    }

    fn apply_entries(&self, entries: &[Entry]) -> io::Result<Vec<Done>> {
        if let Some(level) = entries.iter().filter_map(level_of).find(|level| LEVEL_NEWEST < *level)
        {
            let error = io::Error::other(format!(
                "the cluster is at format level {level}, this version understands up to \
                 {LEVEL_NEWEST}: install the version that the other nodes run"
            ));
            return Err(self.context.fatal.raise("apply an entry", &error));
        }
        #[cfg(feature = "planted-bugs")]
        let entries = &crate::planted::at_one_time(entries)[..];
        let mut position = self.shared.position();
        let mut changed = Changed::default();
        let (done, meta) = {
            let mut machine = self.shared.machine_mut();
            let done: Vec<Done> = entries
                .iter()
                .map(|entry| apply_entry(entry, &mut machine, &mut position))
                .inspect(|done| changed.note(done.revision, &done.changes))
                .collect();
            let meta = position.meta(&machine);
            self.shared.db().note_rest(&machine, &mut changed);
            (done, meta)
        };
        self.context.last_stamp.raise(meta.now);
        self.shared
            .db()
            .write(&changed, &meta, self.context.resume_window)
            .map_err(|error| self.context.fatal.raise("write the state", &error))?;
        self.shared.publish(position);
        Ok(done)
    }

    /// Waits while the sink is full. A sink that is gone means that the process is stopping.
    async fn emit(&self, event: AppliedEvent) {
        let _ = self.sink.send(event).await;
    }
}

impl RaftStateMachine<TypeConfig> for StateStore {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = self.shared.position();
        Ok((position.last_applied, position.membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut runs = entries.ready_chunks(RUN_ENTRIES_MAX);
        while let Some(run) = runs.next().await {
            self.apply_run(run.into_iter().collect::<io::Result<_>>()?).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(self.shared.db(), Arc::clone(&self.context.shelf)).await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> io::Result<()> {
        let context = Arc::clone(&self.context);
        let number = self.shared.db().number() + 1;
        let meta = meta.clone();
        let imported =
            tokio::task::spawn_blocking(move || install(&context, &snapshot, &meta, number));
        let Imported { db, machine, meta } = imported.await.map_err(io::Error::other)??;
        let position = position(meta)?;
        let revision = position.last_applied.map_or(0, |log_id| log_id.index);
        self.context.last_stamp.raise(machine.now());
        let before = self.shared.replace(db, machine, position);
        before.retire();
        // Closing a database and removing its files takes a while.
        drop(tokio::task::spawn_blocking(move || drop(before)));
        self.emit(AppliedEvent::Installed { revision }).await;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.context.shelf.current()
    }
}

/// All or nothing: until the pointer is switched, a start uses the state there was before.
fn install(
    context: &StateContext,
    snapshot: &SnapshotFile,
    meta: &SnapshotMeta,
    number: u64,
) -> io::Result<Imported> {
    let imported = install::import(snapshot, meta, &context.layout, number)?;
    let kept = context.shelf.keep(snapshot.path(), meta);
    if let Err(error) = kept.and_then(|_| context.layout.switch_state(number)) {
        imported.db.retire();
        return Err(error);
    }
    Ok(imported)
}

fn apply_entry(entry: &Entry, machine: &mut Machine, position: &mut Position) -> Done {
    let revision = entry.log_id.index;
    position.last_applied = Some(entry.log_id);
    let (changes, answers) = match &entry.payload {
        EntryPayload::Blank => Default::default(),
        EntryPayload::Normal(batch) => {
            let outcome = machine.apply(batch);
            (outcome.changes, outcome.answers)
        }
        EntryPayload::Membership(membership) => {
            let members: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
            machine.note_members(members, &membership.voter_ids().collect());
            position.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            Default::default()
        }
    };
    Done { revision, changes, answer: BatchAnswer { revision, answers } }
}

/// The level that the entry says every node understands.
fn level_of(entry: &Entry) -> Option<u16> {
    let EntryPayload::Normal(batch) = &entry.payload else { return None };
    let levels = batch.commands.iter().filter_map(|stamped| {
        if let Command::SetLevel { level } = &stamped.command { Some(*level) } else { None }
    });
    levels.max()
}

fn position(meta: StateMeta) -> io::Result<Position> {
    let membership = StoredMembership::try_from(meta.membership);
    let membership =
        membership.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Position { last_applied: meta.last_applied.map(LogId::from), membership })
}

fn command_count(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.commands.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Runs `work` here, and where it takes `long`, lets other tasks of this thread go elsewhere.
fn block<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let has_other_threads = Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if long && has_other_threads { tokio::task::block_in_place(work) } else { work() }
}

/// The state of this number, read and checked.
pub(crate) fn load(layout: &Layout, number: u64) -> Result<Imported, StateError> {
    let db = StateDb::open(layout, number)?;
    let (machine, meta) = db.load()?;
    Ok(Imported { db, machine, meta })
}
