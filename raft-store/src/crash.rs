//! Points at which a test makes the log's writer die or fail. Compiled into tests only.

use std::{
    env, process,
    sync::atomic::{AtomicU64, Ordering},
};

use rocksdb::{DB, WriteBatch};

/// In a child process: `point:count`, to die at the `count`-th time it gets to the point.
pub(crate) const DIE_AT: &str = "SYNCKAIROS_TEST_DIE_AT";

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Called with everything that is about to be written and synced.
pub(crate) fn before_write(db: &DB, writes: &WriteBatch) -> Result<(), ()> {
    let count = WRITES.fetch_add(1, Ordering::SeqCst) + 1;
    if is_armed("before-write", count) {
        process::abort();
    }
    if is_armed("before-sync", count) {
        // The write itself without its sync: what a crash in the middle of it leaves.
        let _ = db.write(WriteBatch::from_data(writes.data()));
        process::abort();
    }
    if is_armed("fail", count) { Err(()) } else { Ok(()) }
}

/// Called when it is on disk and before it is marked as acknowledged.
pub(crate) fn after_sync() -> Result<(), ()> {
    die_at("after-sync");
    if is_armed("fail-mark", WRITES.load(Ordering::SeqCst)) { Err(()) } else { Ok(()) }
}

/// Called when it is marked as acknowledged and nobody knows yet.
pub(crate) fn after_mark() {
    die_at("after-mark");
}

fn die_at(point: &str) {
    if is_armed(point, WRITES.load(Ordering::SeqCst)) {
        process::abort();
    }
}

fn is_armed(point: &str, count: u64) -> bool {
    let Ok(armed) = env::var(DIE_AT) else { return false };
    armed.split_once(':').is_some_and(|(armed, at)| armed == point && at == count.to_string())
}
