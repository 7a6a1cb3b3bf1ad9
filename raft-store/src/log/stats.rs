//! What the log's writer measures of itself: how long syncs take, and how much each one carries.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the sync buckets, in microseconds. One more bucket holds what is above.
pub const SYNC_BUCKETS_MICROS: [u64; 14] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600,
    1_638_400,
];
/// Upper bounds of the buckets of commands in one sync. One more bucket holds what is above.
pub const COMMANDS_BUCKETS: [u64; 12] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024, 4_096];

/// Counts that only grow, kept without locks.
#[derive(Debug, Default)]
pub struct LogStats {
    syncs: AtomicU64,
    sync_micros_total: AtomicU64,
    entries_total: AtomicU64,
    commands_total: AtomicU64,
    sync_micros: [AtomicU64; SYNC_BUCKETS_MICROS.len() + 1],
    commands: [AtomicU64; COMMANDS_BUCKETS.len() + 1],
}

/// [`LogStats`] at one moment. Bucket counts are not cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStatsSnapshot {
    pub syncs: u64,
    pub sync_micros_total: u64,
    pub entries_total: u64,
    pub commands_total: u64,
    /// One for each of [`SYNC_BUCKETS_MICROS`], and one for what is above.
    pub sync_micros: Vec<u64>,
    /// One for each of [`COMMANDS_BUCKETS`], and one for what is above.
    pub commands: Vec<u64>,
}

impl LogStats {
    pub(crate) fn record_sync(&self, took: Duration, entries: u64, commands: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.syncs, 1);
        add(&self.sync_micros_total, micros);
        add(&self.entries_total, entries);
        add(&self.commands_total, commands);
        add(&self.sync_micros[bucket(&SYNC_BUCKETS_MICROS, micros)], 1);
        add(&self.commands[bucket(&COMMANDS_BUCKETS, commands)], 1);
    }

    pub fn snapshot(&self) -> LogStatsSnapshot {
        LogStatsSnapshot {
            syncs: self.syncs.load(Ordering::Relaxed),
            sync_micros_total: self.sync_micros_total.load(Ordering::Relaxed),
            entries_total: self.entries_total.load(Ordering::Relaxed),
            commands_total: self.commands_total.load(Ordering::Relaxed),
            sync_micros: self.sync_micros.iter().map(|b| b.load(Ordering::Relaxed)).collect(),
            commands: self.commands.iter().map(|b| b.load(Ordering::Relaxed)).collect(),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn bucket(bounds: &[u64], value: u64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}
