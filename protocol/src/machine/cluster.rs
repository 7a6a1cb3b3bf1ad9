//! What concerns the cluster as a whole: outages, its format level, its members.

use std::{collections::BTreeSet, sync::Arc};

use super::Machine;
use crate::{
    event::{Answer, Change},
    ids::SessionId,
    roster::Roster,
    time::Stamp,
};

impl Machine {
    /// The cluster has these members, learners included, from this entry on, and these vote.
    pub fn note_members(&mut self, members: BTreeSet<u64>, voters: &BTreeSet<u64>) {
        self.roster.note_members(members, voters);
    }

    /// Credits the span since `from` to every running session that asked for it.
    pub(super) fn outage(&mut self, from: Stamp, changes: &mut Vec<Change>) -> Answer {
        let freezable: Vec<SessionId> = self.freezable.iter().copied().collect();
        let mut credited = 0;
        for id in freezable {
            let Some(session) = self.session(id).map(Arc::clone) else { continue };
            self.put(session.credit_outage(from, self.now, changes));
            credited += 1;
        }
        Answer::Swept { sessions: credited, more: false }
    }

    /// Levels only rise. What nodes of level 1 did not keep in common begins anew, from what they
    /// all know: the members.
    pub(super) fn set_level(&mut self, level: u16) -> Answer {
        if self.level < level {
            if self.level == super::LEVEL_OLDEST {
                self.roster = Roster::of_members(self.roster.members().iter().copied());
            }
            self.level = level;
        }
        Answer::Done
    }
}
