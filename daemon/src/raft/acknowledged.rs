//! What peers acknowledged to this node while it leads: a peer that denies it later has lost it.
//!
//! Its disk forgot what it had synced, or somebody put an old copy of its data directory back. It
//! could vote for a leader that lacks what was committed with its help, so it must not go on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use synckairos_raft_store::raft_types::LogId;

#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<HashMap<u64, InTerm>>>);

#[derive(Clone, Copy, Debug)]
struct InTerm {
    /// Of the leader that it was acknowledged to: another one may have overwritten it since.
    term: u64,
    index: u64,
}

impl Acknowledged {
    /// `node` has everything up to `matched`.
    pub(crate) fn note(&self, node: u64, term: u64, matched: &LogId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(node).or_insert(InTerm { term, index: matched.index });
        if entry.term != term {
            *entry = InTerm { term, index: matched.index };
        }
        entry.index = entry.index.max(matched.index);
    }

    /// `node` says that it does not have `missing`. Up to where it had acknowledged the log, where
    /// that is a contradiction.
    pub(crate) fn lost(&self, node: u64, term: u64, missing: &LogId) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(&node).filter(|entry| entry.term == term)?;
        (missing.index <= entry.index).then_some(entry.index)
    }
}

#[cfg(test)]
mod tests {
    use synckairos_raft_store::wire::LogIdV1;

    use super::*;

    fn at(index: u64) -> LogId {
        LogIdV1 { term: 2, index }.into()
    }

    #[test]
    fn who_denies_what_it_acknowledged_has_lost_it() {
        let acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.lost(2, 5, &at(9)), None, "a follower that is probed first");
        acknowledged.note(2, 5, &at(9));
        acknowledged.note(2, 5, &at(7));
        assert_eq!(acknowledged.lost(2, 5, &at(10)), None);
        assert_eq!(acknowledged.lost(2, 5, &at(9)), Some(9));
        assert_eq!(acknowledged.lost(3, 5, &at(9)), None, "another node");
        assert_eq!(acknowledged.lost(2, 6, &at(9)), None, "another leader may have overwritten it");
        acknowledged.note(2, 6, &at(3));
        assert_eq!(acknowledged.lost(2, 6, &at(9)), None);
    }
}
