//! Tests of the store as a whole, on real directories.

mod backups;
mod cluster;
mod crashes;
mod damage;
mod directory;
mod formats;
mod frames;
mod golden;
mod log;
mod marks;
mod power;
mod power_disk;
mod snapshots;
mod suite;

use std::{collections::BTreeMap, fs, path::Path};

use openraft::{
    EntryPayload,
    storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
};
use synckairos_protocol::{
    command::{Command, CommandBatch, Expected, Stamped},
    ids::{ParticipantId, SessionId},
    session::{NewParticipant, NewSession, SyncMode},
    time::{Millis, Stamp},
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    AppliedEvent, Identity, LogStore, OpenError, Opened, Options, StateStore, Store,
    raft_types::{CommittedLeaderId, Entry, LogId, Membership, PeerNode},
};

/// An open directory, and what came out of its sink.
struct Node {
    opened: Opened,
    events: mpsc::Receiver<AppliedEvent>,
}

impl Node {
    fn open(data_dir: &Path) -> Self {
        Self::try_open(data_dir).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_open(data_dir: &Path) -> Result<Self, OpenError> {
        // More than any test applies.
        let (sink, events) = mpsc::channel(100_000);
        let opened = Store::open(Options {
            data_dir: data_dir.to_owned(),
            identity: Identity { cluster: String::from("test"), node: 1 },
            sink,
            resume_window: 16,
        })?;
        Ok(Self { opened, events })
    }

    /// As a process that ends in good order.
    async fn close(self) {
        let Opened { log, state, applied, inbox, fatal, closed, .. } = self.opened;
        drop((log, state, applied, inbox, fatal));
        closed.wait().await;
    }

    async fn reopen(self, data_dir: &Path) -> Self {
        self.close().await;
        Self::open(data_dir)
    }

    async fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.opened.log.blocking_append(entries).await.unwrap();
    }

    async fn apply(&mut self, entries: impl IntoIterator<Item = Entry>) {
        apply(&mut self.opened.state, entries).await;
    }

    async fn log_ids(&mut self) -> Vec<LogId> {
        log_ids(&mut self.opened.log).await
    }
}

async fn apply(state: &mut StateStore, entries: impl IntoIterator<Item = Entry>) {
    let entries: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    state.apply(futures_util::stream::iter(entries)).await.unwrap();
}

async fn log_ids(log: &mut LogStore) -> Vec<LogId> {
    let entries = log.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id).collect()
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

fn commands(term: u64, index: u64, stamp: u64, commands: Vec<Command>) -> Entry {
    let stamp = Stamp::from_unix_millis(stamp);
    let stamped = commands.into_iter().map(|command| Stamped { stamp, command });
    let batch = CommandBatch { commands: stamped.collect() };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch) }
}

fn membership(term: u64, index: u64) -> Entry {
    let node = PeerNode { peer: String::from("a:1"), http: String::from("a:2") };
    let nodes = BTreeMap::from([(1, node.clone()), (2, node)]);
    let membership = Membership::new(vec![[1].into()], nodes).unwrap();
    Entry { log_id: log_id(term, index), payload: EntryPayload::Membership(membership) }
}

fn session_id(number: u64) -> SessionId {
    SessionId::from_bits(u128::from(number))
}

fn create(number: u64) -> Command {
    let participant = |index: u64| NewParticipant {
        id: ParticipantId::from_bits(u128::from(index + 1)),
        index,
        bank: Millis::new(60_000),
        group: None,
    };
    Command::Create(Box::new(NewSession {
        id: session_id(number),
        mode: SyncMode::PerParticipant,
        participants: vec![participant(0), participant(1)],
        groups: Vec::new(),
        total_time: Millis::new(120_000),
        time_per_cycle: None,
        increment: Millis::new(500),
        max_time: None,
        on_timeout: None,
        auto_advance: None,
        warnings: vec![Millis::new(10_000)],
        metadata: Some(format!("{{\"number\":{number}}}")),
        first: None,
    }))
}

/// A history of creates, starts, switches, deletes, ticks and a membership: entry `i` at index `i`.
fn history(entries: u64) -> Vec<Entry> {
    let entry = |index: u64| {
        let stamp = 1_000_000 + index * 700;
        let (session, expected) = (session_id(index.saturating_sub(1)), Expected::Exactly(1));
        match index % 5 {
            0 if index == 0 => membership(1, 0),
            0 => commands(1, index, stamp, vec![Command::Tick { sessions_max: 100 }]),
            1 => commands(1, index, stamp, vec![create(index), create(1_000 + index)]),
            2 => commands(1, index, stamp, vec![Command::Start { session, expected }]),
            3 => {
                let session = session_id(index - 2);
                let expected = Expected::Exactly(2);
                let switch = Command::Switch { session, expected, current: None, next: None };
                commands(1, index, stamp, vec![switch])
            }
            _ => {
                let session = session_id(1_000 + index - 3);
                let deletes = index % 10 == 4;
                let delete = deletes.then_some(Command::Delete { session });
                commands(1, index, stamp, delete.into_iter().collect())
            }
        }
    };
    (0..entries).map(entry).collect()
}

/// A copy of a directory as a crash at this moment would leave it, but for what is not synced.
fn copy(from: &Path) -> TempDir {
    fn copy_into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            let target = to.join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                copy_into(&file.path(), &target);
            } else if file.file_name() != "LOCK" {
                fs::copy(file.path(), target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}
