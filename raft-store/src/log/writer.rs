//! The one thread that writes to the log's database.
//!
//! It takes everything that is waiting, writes it as one batch, syncs once, and only then answers,
//! in the order in which it was asked. Nothing that it was asked is ever reordered: a vote and the
//! entries around it reach the disk as openraft issued them.

use std::{io, ops::Range, sync::Arc, time::Instant};

use openraft::storage::IOFlushed;
use rocksdb::{WriteBatch, WriteOptions};
use synckairos_protocol::codec::{self, EncodeError, Kind};
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use tokio::sync::{mpsc, oneshot};

use super::{LogShared, keys, mark::MarkFile};
use crate::{
    raft_types::{Entry, LogId, TypeConfig, Vote},
    rocks,
    wire::{EntryV1, LOG_ID_FORMAT, LogIdV1, VOTE_FORMAT, VoteV1},
};

/// Orders that may wait; beyond, openraft waits.
pub(super) const ORDERS_MAX: usize = 1_024;
/// A batch of this size is written before more is taken.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) type Reply = oneshot::Sender<io::Result<()>>;

/// Everything that can be written.
pub(super) enum Order {
    Append {
        entries: Vec<Arc<Entry>>,
        commands: u64,
        done: IOFlushed<TypeConfig>,
    },
    Vote {
        vote: Vote,
        done: Reply,
    },
    /// Deletes these indexes at the end of the log, which is then `last`.
    Truncate {
        indexes: Range<u64>,
        last: Option<LogId>,
        done: Reply,
    },
    /// Moves the beginning of the log, and deletes these keys before it if there are enough.
    Purge {
        upto: LogId,
        keys: Option<Range<u64>>,
        done: Reply,
    },
}

/// Whom to answer once the batch is on disk.
enum Waiting {
    Append(IOFlushed<TypeConfig>),
    Reply(Reply),
}

#[derive(Default)]
struct Batch {
    writes: WriteBatch,
    waiting: Vec<Waiting>,
    must_sync: bool,
    /// One above the last appended index.
    appended_below: u64,
    entries: u64,
    commands: u64,
    removed_keys: Vec<Range<u64>>,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Database(#[from] rocksdb::Error),
    #[error("the mark of what was acknowledged: {0}")]
    Mark(#[from] io::Error),
    #[cfg(test)]
    #[error("injected failure")]
    Injected,
}

/// Runs until the last handle of the log is gone.
pub(super) fn run(shared: &LogShared, mut mark: MarkFile, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.blocking_recv() {
        let mut batch = Batch::default();
        let mut written = batch.add(shared, &mut mark, order);
        while written.is_ok()
            && batch.writes.size_in_bytes() < BATCH_BYTES_MAX
            && let Ok(order) = orders.try_recv()
        {
            written = batch.add(shared, &mut mark, order);
        }
        let written = written.and_then(|()| batch.write(shared, &mut mark));
        if let Err(error) = written {
            shared.fatal.raise("write the log", &error);
            batch.answer(shared);
            refuse_all(shared, orders);
            return;
        }
        batch.answer(shared);
        batch.remove_files(shared);
    }
    // How far the log was committed is only a hint for the next start, and a mark that a power
    // failure takes back only a weaker one, so their loss is no failure.
    let mut batch = Batch { must_sync: true, ..Batch::default() };
    let written = batch.write(shared, &mut mark).and_then(|()| Ok(mark.sync()?));
    if let Err(error) = written {
        tracing::warn!(%error, "cannot save how far the log was committed and acknowledged");
    }
}

/// After a failed write or sync nobody knows what the disk holds, so nothing more is accepted.
fn refuse_all(shared: &LogShared, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.blocking_recv() {
        let waiting = match order {
            Order::Append { done, .. } => Waiting::Append(done),
            Order::Vote { done, .. } | Order::Truncate { done, .. } | Order::Purge { done, .. } => {
                Waiting::Reply(done)
            }
        };
        waiting.answer(shared);
    }
}

impl Batch {
    fn add(
        &mut self,
        shared: &LogShared,
        mark: &mut MarkFile,
        order: Order,
    ) -> Result<(), WriteError> {
        let log = rocks::family(&shared.db, rocks::LOG);
        let meta = rocks::family(&shared.db, rocks::META);
        match order {
            Order::Append { entries, commands, done } => {
                self.waiting.push(Waiting::Append(done));
                self.must_sync = true;
                self.commands += commands;
                for entry in &entries {
                    let value = EntryV1::encode(entry)?;
                    self.writes.put_cf(log, keys::of(entry.log_id.index), value);
                    self.appended_below = entry.log_id.index + 1;
                    self.entries += 1;
                    mark.ends_at(Some(entry.log_id));
                }
            }
            Order::Vote { vote, done } => {
                self.waiting.push(Waiting::Reply(done));
                self.must_sync = true;
                let value = codec::encode(Kind::Vote, VOTE_FORMAT, &VoteV1::from(&vote))?;
                self.writes.put_cf(meta, keys::VOTE, value);
                mark.votes(vote);
            }
            Order::Truncate { indexes, last, done } => {
                self.waiting.push(Waiting::Reply(done));
                self.must_sync = true;
                // From the end backward, though the batch is atomic anyway.
                for index in indexes.rev() {
                    self.writes.delete_cf(log, keys::of(index));
                }
                mark.ends_at(last);
            }
            Order::Purge { upto, keys: removed, done } => {
                self.waiting.push(Waiting::Reply(done));
                self.writes.put_cf(meta, keys::PURGED, position(&upto)?);
                mark.begins_after(upto);
                if let Some(removed) = removed {
                    let (from, until) = (keys::of(removed.start), keys::of(removed.end));
                    self.writes.delete_range_cf(log, from, until);
                    self.removed_keys.push(removed);
                }
            }
        }
        Ok(())
    }

    /// How far the log is committed rides along with whatever is written next.
    fn add_committed(&mut self, shared: &LogShared) -> Result<(), WriteError> {
        let mut tail = shared.tail();
        if std::mem::take(&mut tail.committed_is_new)
            && let Some(committed) = &tail.committed
        {
            let meta = rocks::family(&shared.db, rocks::META);
            self.writes.put_cf(meta, keys::COMMITTED, position(committed)?);
        }
        Ok(())
    }

    fn write(&mut self, shared: &LogShared, mark: &mut MarkFile) -> Result<(), WriteError> {
        self.add_committed(shared)?;
        let writes = std::mem::take(&mut self.writes);
        if writes.is_empty() && !self.must_sync {
            return Ok(());
        }
        #[cfg(test)]
        crate::crash::before_write(&shared.db, &writes).map_err(|()| WriteError::Injected)?;
        let mut options = WriteOptions::default();
        options.set_sync(self.must_sync);
        #[cfg(feature = "planted-bugs")]
        options.set_sync(self.must_sync && !Plant::SkipFsync.is_on());
        let begun = Instant::now();
        shared.db.write_opt(writes, &options)?;
        if self.must_sync {
            shared.stats.record_sync(begun.elapsed(), self.entries, self.commands);
            #[cfg(test)]
            crate::crash::after_sync().map_err(|()| WriteError::Injected)?;
            mark.acknowledge(shared.db.latest_sequence_number())?;
            #[cfg(test)]
            crate::crash::after_mark();
        }
        shared.tail().mark_durable(self.appended_below);
        Ok(())
    }

    fn answer(&mut self, shared: &LogShared) {
        for waiting in self.waiting.drain(..) {
            waiting.answer(shared);
        }
    }

    /// Gives back the space of purged entries without waiting for a compaction.
    fn remove_files(&self, shared: &LogShared) {
        let log = rocks::family(&shared.db, rocks::LOG);
        for removed in &self.removed_keys {
            let (from, until) = (keys::of(removed.start), keys::of(removed.end - 1));
            if let Err(error) = shared.db.delete_file_in_range_cf(log, from, until) {
                tracing::warn!(%error, "cannot remove files of purged log entries");
            }
        }
    }
}

impl Waiting {
    fn answer(self, shared: &LogShared) {
        let result = shared.fatal.raised().map_or(Ok(()), Err);
        match self {
            Self::Append(done) => done.io_completed(result),
            // A caller that no longer waits needs no answer.
            Self::Reply(done) => drop(done.send(result)),
        }
    }
}

fn position(log_id: &LogId) -> Result<Vec<u8>, EncodeError> {
    codec::encode(Kind::LogPosition, LOG_ID_FORMAT, &LogIdV1::from(log_id))
}
