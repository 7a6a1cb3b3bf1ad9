//! Points at which a test makes the log's writer die or fail. Compiled into tests only.

use std::{
    env, fs,
    path::Path,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use rocksdb::{DB, WriteBatch};

/// In a child process: `point:count`, to die at the `count`-th time it gets to the point.
pub(crate) const DIE_AT: &str = "SYNCKAIROS_TEST_DIE_AT";

/// In a child process: a file into which the sizes of all files of the database go before the write
/// that it dies in.
pub(crate) const SIZES_INTO: &str = "SYNCKAIROS_TEST_SIZES_INTO";

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Called with everything that is about to be written and synced.
pub(crate) fn before_write(db: &DB, writes: &WriteBatch) -> Result<(), ()> {
    let count = WRITES.fetch_add(1, Ordering::SeqCst) + 1;
    if is_armed("before-write", count) {
        process::abort();
    }
    if is_armed("before-sync", count) {
        note_sizes(db.path());
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

/// What is on disk for certain: every byte so far was synced, or is of no account.
fn note_sizes(database: &Path) {
    let Ok(into) = env::var(SIZES_INTO) else { return };
    let Ok(files) = fs::read_dir(database) else { return };
    let size = |file: fs::DirEntry| {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        format!("{} {length}\n", file.file_name().to_string_lossy())
    };
    let sizes: String = files.flatten().map(size).collect();
    // Without it the test that asked for it fails.
    let _ = fs::write(into, sizes);
}
