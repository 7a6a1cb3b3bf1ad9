//! Who belongs to the cluster and where clients find them, as this node knows without asking.

use synckairos_protocol::wire::rest::{MemberAnswer, NodesAnswer};

use super::Survey;
use crate::raft::vitals::{Vitals, membership_index};

impl Survey {
    /// Position in the log of what made the members; 0 where this node knows of none.
    pub(crate) fn membership_revision(&self) -> u64 {
        membership_index(&self.reporter.raft)
    }

    pub(crate) fn members(&self) -> NodesAnswer {
        // A leader that is out of touch may have a successor by now, which the sessions know of.
        let leader = self.reporter.sessions.status().leader_id;
        let vitals = Vitals::of(&self.reporter.raft);
        let voter = |id: &u64| vitals.voters.iter().any(|group| group.contains(id));
        let nodes = vitals.members.iter().map(|(id, place)| MemberAnswer {
            id: *id,
            http: place.http.clone(),
            voter: voter(id),
        });
        NodesAnswer {
            cluster_id: self.cluster.to_string(),
            nodes: nodes.collect(),
            leader,
            membership_revision: vitals.membership_index.unwrap_or(0),
        }
    }
}
