//! RocksDB under openraft: log, state, snapshots and their formats.
//!
//! [`Store::open`] takes a directory, checks everything in it, and returns it in parts
//! ([`Opened`]): the [`LogStore`] and the [`StateStore`] go to openraft, which is their only writer;
//! everybody else reads through [`Applied`], hears of changes through the sink given in [`Options`],
//! and puts snapshots from peers into the [`snapshot_file::SnapshotInbox`]. Whoever runs the node
//! watches `fatal` and ends the process when it is raised.
//!
//! [`raft_types`] names the types that openraft is told to use, [`wire`] their frozen forms for
//! disk and peers; openraft's own structs are neither stored nor sent.
//!
//! What holds here:
//! - A vote is on disk before anybody hears of it, and so is an entry before it is acknowledged.
//! - A log that has a hole, a damaged byte, or lost an acknowledged write is never opened. Only a
//!   record that was cut off while it was written, and therefore never acknowledged, is dropped;
//!   which ones were, a mark outside of the database tells.
//! - After a failed write nothing more is accepted.
//! - State is derived: it may trail the log on disk, and is made again from a snapshot and the log.
//! - A snapshot takes effect as a whole or not at all.

mod admission;
pub mod backup;
mod error;
mod fatal;
mod identity;
mod layout;
mod log;
mod log_index;
mod open;
#[cfg(feature = "planted-bugs")]
mod planted;
pub mod raft_types;
mod rocks;
mod rocks_files;
mod snapshot;
pub mod snapshot_file;
mod state;
pub mod wire;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use error::OpenError;
pub use identity::Identity;
pub use layout::Closed;
pub use log::{
    LogReader, LogStore,
    stats::{COMMANDS_BUCKETS, LogStats, LogStatsSnapshot, SYNC_BUCKETS_MICROS},
};
pub use open::{Opened, Options, Store};
pub use snapshot::{build::SnapshotBuilder, format::SnapshotError};
pub use state::{Applied, AppliedEvent, StateError, StateStore, StoredUpdate};
