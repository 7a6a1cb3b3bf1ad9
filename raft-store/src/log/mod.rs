//! The Raft log and the vote, in a RocksDB of their own.
//!
//! Entries are readable from memory at once and durable a little later; the vote is durable before
//! anybody hears of it. All writes go through the thread in `writer`, in order.

mod found;
mod keys;
mod load;
mod mark;
mod stamp;
pub(crate) mod stats;
mod tail;
mod writer;

use std::{
    fmt, io,
    ops::{Bound, Range, RangeBounds},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use futures_util::{Stream, TryStreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use rocksdb::{DB, IteratorMode};
use synckairos_protocol::time::Stamp;
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::OpenError,
    fatal::FatalSignal,
    identity::Identity,
    layout::{DirectoryLock, Layout},
    raft_types::{Entry, LogId, TypeConfig, Vote},
    rocks,
};
use stats::LogStats;
use tail::{Found, Tail};
use writer::Order;

pub(crate) use found::{FoundError, found};
#[cfg(test)]
pub(crate) use mark::{FORM_BYTES, Mark};
pub(crate) use stamp::LastStamp;

/// Purged entries are removed from the database this many at a time, because every removal leaves
/// a marker that slows readers until it is compacted away.
const PURGE_STEP: u64 = 10_000;
/// What one read for a follower, or a part of a longer one, may take; a frame holds it.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries that such a read may take from the database.
const READ_STORED_MAX: u64 = 256;
/// A read that meets a truncation or a purge half-way is repeated; both are rare.
const READ_ATTEMPTS: usize = 8;

pub(crate) struct LogShared {
    db: DB,
    tail: Mutex<Tail>,
    stats: LogStats,
    last_stamp: LastStamp,
    fatal: FatalSignal,
    /// After the database: the directory is free once it is closed.
    _lock: Arc<DirectoryLock>,
}

/// The log of this node. Only openraft writes to it; clones are for looking.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<LogShared>,
    orders: mpsc::Sender<Order>,
}

/// Reads the log; as many as wanted.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<LogShared>,
}

impl LogStore {
    /// Opens and checks the log, and starts its writer.
    pub(crate) fn open(
        layout: &Layout,
        identity: &Identity,
        fatal: FatalSignal,
        lock: Arc<DirectoryLock>,
    ) -> Result<Self, OpenError> {
        let loaded = load::load(layout, identity)?;
        let shared = Arc::new(LogShared {
            db: loaded.db,
            tail: Mutex::new(loaded.tail),
            stats: LogStats::default(),
            last_stamp: loaded.last_stamp,
            fatal,
            _lock: lock,
        });
        let (orders, receiver) = mpsc::channel(writer::ORDERS_MAX);
        let writes = Arc::clone(&shared);
        let mark = loaded.mark;
        thread::Builder::new()
            .name(String::from("raft-log-writer"))
            .spawn(move || writer::run(&writes, mark, receiver))
            .map_err(OpenError::io("start the writer of", &layout.raft()))?;
        Ok(Self { shared, orders })
    }

    /// The largest cluster time in the log or in the applied state: where the clock of a new leader
    /// begins.
    pub fn last_stamp(&self) -> Stamp {
        self.shared.last_stamp.get()
    }

    /// What the writer has measured of itself so far.
    pub fn stats(&self) -> &LogStats {
        &self.shared.stats
    }

    pub(crate) fn stamps(&self) -> LastStamp {
        self.shared.last_stamp.clone()
    }

    /// Was anything ever written for openraft?
    pub(crate) fn has_data(&self) -> bool {
        let tail = self.shared.tail();
        tail.last().is_some() || tail.vote.is_some()
    }

    /// Where the log begins: the last entry that was purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.tail().purged()
    }

    async fn order(&self, order: Order) -> io::Result<()> {
        // The writer outlives every sender but for a panic, which is then the reason.
        self.orders
            .send(order)
            .await
            .map_err(|_| self.shared.fatal.raise("write the log", &"its writer has ended"))
    }

    async fn order_and_wait(&self, order: impl FnOnce(writer::Reply) -> Order) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.order(order(done)).await?;
        written
            .await
            .map_err(|_| self.shared.fatal.raise("write the log", &"its writer has ended"))?
    }
}

impl LogShared {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().expect("nobody panics while holding the log's bounds")
    }

    /// Reads what the log holds of a range, at least its first entry.
    async fn read(
        self: &Arc<Self>,
        range: Range<u64>,
        stored_max: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<Entry>> {
        for _ in 0..READ_ATTEMPTS {
            let Found { mut stored, recent } = self.tail().find(range.clone(), bytes_max);
            if stored.is_empty() {
                return Ok(recent.iter().map(|entry| entry.as_ref().clone()).collect());
            }
            let wanted = stored.end - stored.start;
            stored.end = stored.end.min(stored.start.saturating_add(stored_max));
            let cut = stored.end - stored.start < wanted;
            let count = stored.end - stored.start;
            let shared = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || shared.read_stored(stored, bytes_max));
            let Stored { mut entries, full } = read.await.map_err(io::Error::other)??;
            if !full && entries.len() as u64 != count {
                continue;
            }
            if !cut && !full {
                entries.extend(recent.iter().map(|entry| entry.as_ref().clone()));
            }
            return Ok(entries);
        }
        Err(io::Error::other(format!("log entries {range:?} are missing from the database")))
    }

    fn read_stored(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Stored> {
        let mut bounds = rocksdb::ReadOptions::default();
        bounds.set_iterate_lower_bound(keys::of(range.start));
        bounds.set_iterate_upper_bound(keys::of(range.end));
        let log = rocks::family(&self.db, rocks::LOG);
        let mut entries = Vec::new();
        let mut bytes: usize = 0;
        for (index, item) in range.zip(self.db.iterator_cf_opt(log, bounds, IteratorMode::Start)) {
            let (_, value) = item.map_err(io::Error::other)?;
            let entry = load::decode_entry(&value).map_err(|error| {
                self.fatal.raise("read the log", &format!("entry {index}: {error}"))
            })?;
            if entry.log_id.index != index {
                break;
            }
            bytes = bytes.saturating_add(value.len());
            if bytes_max < bytes && !entries.is_empty() {
                return Ok(Stored { entries, full: true });
            }
            entries.push(entry);
        }
        Ok(Stored { entries, full: false })
    }
}

/// What a read of the database gave.
struct Stored {
    entries: Vec<Entry>,
    /// More would have been over the limit of bytes.
    full: bool,
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        self.shared.read(half_open(&range), u64::MAX, usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.tail().vote)
    }

    /// In parts, so that a node that catches up does not hold all it missed in memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let rest = (Arc::clone(&self.shared), half_open(&range));
        stream::try_unfold(rest, |(shared, rest)| async move {
            let part = shared.read(rest.clone(), READ_STORED_MAX, READ_BYTES_MAX).await?;
            let Some(last) = part.last() else { return Ok::<_, io::Error>(None) };
            let rest = last.log_id.index + 1..rest.end;
            Ok(Some((stream::iter(part.into_iter().map(Ok)), (shared, rest))))
        })
        .try_flatten()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(start..end, READ_STORED_MAX, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let tail = self.shared.tail();
        Ok(LogState { last_purged_log_id: tail.purged(), last_log_id: tail.last() })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.order_and_wait(|done| Order::Vote { vote, done }).await?;
        self.shared.tail().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let mut tail = self.shared.tail();
        tail.committed = committed;
        tail.committed_is_new = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.tail().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Arc<Entry>> = entries.into_iter().map(Arc::new).collect();
        let commands = entries.iter().map(|entry| load::command_count(entry)).sum();
        for entry in &entries {
            self.shared.last_stamp.see(entry);
        }
        let appended = self.shared.tail().append(&entries);
        appended.map_err(|hole| self.shared.fatal.raise("append to the log", &hole))?;
        self.order(Order::Append { entries, commands, done: callback }).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let (indexes, last) = {
            let mut tail = self.shared.tail();
            (tail.truncate_after(last_log_id), tail.last())
        };
        if indexes.is_empty() {
            return Ok(());
        }
        self.order_and_wait(|done| Order::Truncate { indexes, last, done }).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let keys = {
            let mut tail = self.shared.tail();
            if !tail.purge(log_id) {
                return Ok(());
            }
            tail.take_purged_keys(PURGE_STEP)
        };
        self.order_and_wait(|done| Order::Purge { upto: log_id, keys, done }).await
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
