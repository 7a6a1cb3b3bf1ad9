//! Whether a node may take part in its cluster.
//!
//! A directory without data belongs to a node that is new, or to one whose data was lost. Only
//! others can tell: the founder, before there is a cluster, or the leader. Until one of them has,
//! the node takes nothing and votes for nobody, because it may have promised what it does not know.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{error::OpenError, fatal::FatalSignal, layout, layout::Layout};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    had_data: bool,
    admitted: AtomicBool,
    fatal: FatalSignal,
}

impl Admission {
    /// `has_data`: the log is not empty, or the node has voted. Then it was let in at some time,
    /// unless its data was made from a backup and its cluster has never run.
    pub(crate) fn open(
        layout: &Layout,
        has_data: bool,
        fatal: FatalSignal,
    ) -> Result<Self, OpenError> {
        let there = |path: PathBuf| path.try_exists().map_err(OpenError::io("look for", &path));
        let path = layout.admitted();
        let admitted = there(path.clone())? || (has_data && !there(layout.to_be_founded())?);
        let admitted = AtomicBool::new(admitted);
        Ok(Self(Arc::new(Inner { path, had_data: has_data, admitted, fatal })))
    }

    /// Was there anything in the log, or a vote, when the directory was opened?
    pub fn had_data(&self) -> bool {
        self.0.had_data
    }

    pub fn is_admitted(&self) -> bool {
        self.0.admitted.load(Ordering::Acquire)
    }

    /// Keeps for good that this node may take part. Blocks until that is on the disk.
    ///
    /// # Errors
    /// The node must end: nobody knows what the disk holds.
    pub fn admit(&self) -> io::Result<()> {
        if !self.is_admitted() {
            layout::replace_file(&self.0.path, &[])
                .map_err(|error| self.0.fatal.raise("write ADMITTED", &error))?;
            self.0.admitted.store(true, Ordering::Release);
        }
        Ok(())
    }
}
