//! What memory knows of the log: its bounds, the vote, and its newest entries.
//!
//! An entry is readable here before it is durable, and leaves only after it is.

use std::{collections::VecDeque, mem, ops::Range, sync::Arc};

use openraft::EntryPayload;
use synckairos_protocol::command::Command;

use crate::{
    log_index::next_index,
    raft_types::{Entry, LogId, Vote},
};

/// About what one command other than a create takes in memory.
const COMMAND_BYTES: usize = 160;
const PARTICIPANT_BYTES: usize = 96;

#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    /// `committed` has changed since it was last written.
    pub(crate) committed_is_new: bool,
    purged: Option<LogId>,
    /// The last entry, or `purged` where there is none.
    last: Option<LogId>,
    /// Lowest index that the log holds; one above the last where it holds none.
    first_index: u64,
    /// Entries below this are in the database.
    durable_below: u64,
    /// Lowest key that may still be in the database: purged entries are removed in large steps.
    pub(crate) stored_from: u64,
    /// Index of the first entry of `recent`.
    recent_from: u64,
    recent: VecDeque<Arc<Entry>>,
    recent_bytes: usize,
    recent_bytes_max: usize,
}

/// Where the entries of a range are found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the database; all of it durable.
    pub(crate) stored: Range<u64>,
    /// In memory, right after `stored`.
    pub(crate) recent: Vec<Arc<Entry>>,
}

/// An append that does not begin where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {actual} would leave a hole in the log, which continues at {expected}")]
pub(crate) struct Hole {
    expected: u64,
    actual: u64,
}

impl Tail {
    pub(crate) fn new(
        purged: Option<LogId>,
        last: Option<LogId>,
        stored_from: u64,
        recent_bytes_max: usize,
    ) -> Self {
        let next = next_index(last);
        Self {
            vote: None,
            committed: None,
            committed_is_new: false,
            purged,
            last,
            first_index: next_index(purged),
            durable_below: next,
            stored_from,
            recent_from: next,
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_bytes_max,
        }
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(crate) fn next_index(&self) -> u64 {
        next_index(self.last)
    }

    /// Makes entries readable.
    pub(crate) fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), Hole> {
        for entry in entries {
            let actual = entry.log_id.index;
            if self.last.is_none() {
                // A log that never held anything begins where its first entry says.
                self.first_index = actual;
                self.durable_below = actual;
                self.recent_from = actual;
            } else if actual != self.next_index() {
                return Err(Hole { expected: self.next_index(), actual });
            }
            self.last = Some(entry.log_id);
            self.recent_bytes += approximate_bytes(entry);
            self.recent.push_back(Arc::clone(entry));
        }
        Ok(())
    }

    /// Entries below `index` have reached the disk, except those that were truncated meanwhile.
    pub(crate) fn mark_durable(&mut self, index: u64) {
        self.durable_below = self.durable_below.max(index.min(self.next_index()));
        while self.recent_bytes_max < self.recent_bytes && self.recent_from < self.durable_below {
            self.forget_oldest();
        }
    }

    /// Drops what is after `keep` and returns the indexes to delete from the database.
    pub(crate) fn truncate_after(&mut self, keep: Option<LogId>) -> Range<u64> {
        let (from, until) = (next_index(keep).max(self.first_index), self.next_index());
        if until <= from {
            return until..until;
        }
        while let Some(entry) = self.recent.back()
            && from <= entry.log_id.index
        {
            self.recent_bytes -= approximate_bytes(entry);
            self.recent.pop_back();
        }
        self.last = if from == self.first_index { self.purged } else { keep };
        self.recent_from = self.recent_from.min(from);
        self.durable_below = self.durable_below.min(from);
        from..until
    }

    /// Drops what is up to `upto`, which may lie beyond the end. Returns whether anything changed.
    pub(crate) fn purge(&mut self, upto: LogId) -> bool {
        if self.purged.is_some_and(|purged| upto.index <= purged.index) {
            return false;
        }
        let first = upto.index + 1;
        while let Some(entry) = self.recent.front()
            && entry.log_id.index < first
        {
            self.forget_oldest();
        }
        self.purged = Some(upto);
        self.first_index = self.first_index.max(first);
        if self.next_index() <= first {
            self.last = Some(upto);
            self.recent_from = first;
        }
        self.durable_below = self.durable_below.max(first);
        true
    }

    /// The keys of purged entries, once there are at least `least` of them; as if removed now.
    pub(crate) fn take_purged_keys(&mut self, least: u64) -> Option<Range<u64>> {
        let purged_below = next_index(self.purged);
        if purged_below.saturating_sub(self.stored_from) < least.max(1) {
            return None;
        }
        Some(mem::replace(&mut self.stored_from, purged_below)..purged_below)
    }

    /// Where to find what the log holds of `range`; the first entry and then as many as fit in
    /// `bytes_max`, as far as memory knows their size.
    pub(crate) fn find(&self, range: Range<u64>, bytes_max: usize) -> Found {
        let start = range.start.max(self.first_index);
        let end = range.end.min(self.next_index());
        if end <= start {
            return Found::default();
        }
        let stored = start..end.min(self.recent_from).max(start);
        let offset = stored.end.saturating_sub(self.recent_from);
        let count = end - stored.end;
        let mut bytes = 0;
        let recent = self
            .recent
            .iter()
            .skip(to_usize(offset))
            .take(to_usize(count))
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += approximate_bytes(entry);
                first || bytes <= bytes_max
            })
            .map(Arc::clone)
            .collect();
        Found { stored, recent }
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.recent.pop_front() {
            self.recent_bytes -= approximate_bytes(&entry);
            self.recent_from = entry.log_id.index + 1;
        }
    }
}

/// In memory and, within a small factor, on disk.
fn approximate_bytes(entry: &Entry) -> usize {
    let EntryPayload::Normal(batch) = &entry.payload else { return COMMAND_BYTES };
    let commands = batch.commands.iter().map(|stamped| approximate_command(&stamped.command));
    COMMAND_BYTES + commands.sum::<usize>()
}

fn approximate_command(command: &Command) -> usize {
    match command {
        Command::Create(new) | Command::CreateWith { new, .. } => {
            let seats = new.participants.len() + new.groups.len();
            let metadata = new.metadata.as_ref().map_or(0, String::len);
            2 * COMMAND_BYTES + seats * PARTICIPANT_BYTES + metadata
        }
        Command::Start { .. }
        | Command::Switch { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Complete { .. }
        | Command::Delete { .. }
        | Command::Tick { .. }
        | Command::Sweep { .. }
        | Command::Outage { .. }
        | Command::Beat
        | Command::SetLevel { .. } => COMMAND_BYTES,
        Command::CreateToken { .. } | Command::AdmitNode { .. } => 4 * COMMAND_BYTES,
        Command::Atomic { commands } => commands.iter().map(approximate_command).sum(),
        Command::Once { command, .. } => 2 * COMMAND_BYTES + approximate_command(command),
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
