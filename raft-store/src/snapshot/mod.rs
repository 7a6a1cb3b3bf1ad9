//! Snapshots: the whole state as one file that any version of this format can read, whatever the
//! database under it.

pub(crate) mod build;
pub(crate) mod format;
mod header;
pub(crate) mod install;
pub(crate) mod shelf;
