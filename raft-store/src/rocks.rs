//! How the two RocksDB databases of a node are opened.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, LogLevel, Options,
};

use crate::rocks_files::{self, FilesError};

pub(crate) const LOG: &str = "log";
pub(crate) const SESSIONS: &str = "sessions";
pub(crate) const META: &str = "meta";
pub(crate) const ANSWERED: &str = "answered";
pub(crate) const UPDATES: &str = "updates";

const MIB: usize = 1024 * 1024;
/// Of the log: many entries a second, each read back seldom.
const LOG_WRITE_BUFFER_BYTES: usize = 32 * MIB;
/// Beyond this, families with little in them are flushed so that old write-ahead files can go.
const LOG_WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
const STATE_WRITE_BUFFER_BYTES: usize = 16 * MIB;
const STATE_WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
const STATE_CACHE_BYTES: usize = 32 * MIB;
/// Log entries are read in passing; memory holds the recent ones.
const LOG_CACHE_BYTES: usize = 4 * MIB;
/// Answers and updates that somebody asks for again.
const QUEUE_CACHE_BYTES: usize = 8 * MIB;
const BLOOM_BITS_PER_KEY: f64 = 10.0;

/// A database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Rocks(#[from] rocksdb::Error),
}

/// The log, the vote, and positions in the log.
pub(crate) fn open_raft(path: &Path) -> Result<DB, DatabaseError> {
    let mut options = common();
    options.set_max_total_wal_size(LOG_WAL_BYTES_MAX);
    let mut log = Options::default();
    log.set_write_buffer_size(LOG_WRITE_BUFFER_BYTES);
    log.set_max_write_buffer_number(4);
    log.set_compression_type(DBCompressionType::None);
    // A stall here is a stall of the whole cluster; purging removes the files soon anyway.
    log.set_level_zero_file_num_compaction_trigger(8);
    log.set_level_zero_slowdown_writes_trigger(40);
    log.set_level_zero_stop_writes_trigger(80);
    log.set_block_based_table_factory(&blocks(LOG_CACHE_BYTES));
    let mut meta = Options::default();
    meta.set_write_buffer_size(MIB);
    open(path, &options, [(LOG, log), (META, meta)])
}

/// Sessions, what was answered and pushed, and how far the log has been applied to them.
pub(crate) fn open_state(path: &Path) -> Result<DB, DatabaseError> {
    let mut options = common();
    options.set_max_total_wal_size(STATE_WAL_BYTES_MAX);
    let mut sessions = Options::default();
    sessions.set_write_buffer_size(STATE_WRITE_BUFFER_BYTES);
    sessions.set_max_write_buffer_number(4);
    sessions.set_compression_type(DBCompressionType::Lz4);
    let mut table = blocks(STATE_CACHE_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    sessions.set_block_based_table_factory(&table);
    let mut meta = Options::default();
    meta.set_write_buffer_size(MIB);
    // Written once, removed from the front, read seldom.
    let mut queue = Options::default();
    queue.set_write_buffer_size(STATE_WRITE_BUFFER_BYTES);
    queue.set_compression_type(DBCompressionType::Lz4);
    queue.set_block_based_table_factory(&blocks(QUEUE_CACHE_BYTES));
    let families =
        [(SESSIONS, sessions), (META, meta), (ANSWERED, queue.clone()), (UPDATES, queue)];
    open(path, &options, families)
}

pub(crate) fn family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("the database was opened with this family")
}

fn common() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // The default, point in time, opens a damaged file by silently dropping acknowledged votes
    // and entries; this mode forgives only a record that was cut off by a crash. What it takes for
    // one and is not, `rocks_files` and the mark of the log notice.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_recycle_log_file_num(0);
    options.set_manual_wal_flush(false);
    options.set_wal_bytes_per_sync(0);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(5);
    options.set_max_log_file_size(MIB);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn blocks(cache_bytes: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(cache_bytes));
    table.set_format_version(5);
    table
}

fn open<const N: usize>(
    path: &Path,
    options: &Options,
    families: [(&str, Options); N],
) -> Result<DB, DatabaseError> {
    rocks_files::check(path)?;
    let families = families.map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
    Ok(DB::open_cf_descriptors(options, path, families)?)
}
