//! Backups of a node that runs: as a stream for its operator, and by a schedule into files.
//!
//! A backup is the state at one revision, and holds whatever was acknowledged before it was asked
//! for. Making one reads the state database as it was at one moment; the node goes on meanwhile.

pub(crate) mod export;
pub(crate) mod file;
mod names;
pub(crate) mod schedule;
pub(crate) mod settings;
mod source;

pub(crate) mod stream;

pub(crate) use source::Source;
