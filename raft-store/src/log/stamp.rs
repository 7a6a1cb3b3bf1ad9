//! The largest cluster time that this node has seen.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use openraft::EntryPayload;
use synckairos_protocol::time::Stamp;

use crate::raft_types::Entry;

/// The largest stamp in the log or in the applied state: where the clock of a new leader begins,
/// so that cluster time never goes back. Never decreases, not even when entries are truncated.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastStamp(Arc<AtomicU64>);

impl LastStamp {
    pub(crate) fn get(&self) -> Stamp {
        Stamp::from_unix_millis(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn raise(&self, stamp: Stamp) {
        self.0.fetch_max(stamp.unix_millis(), Ordering::AcqRel);
    }

    pub(crate) fn see(&self, entry: &Entry) {
        if let EntryPayload::Normal(batch) = &entry.payload
            && let Some(last) = batch.commands.iter().map(|stamped| stamped.stamp).max()
        {
            self.raise(last);
        }
    }
}
