//! What operators and joining nodes ask of the leader, what it answers, and why it refuses.
//!
//! All of it travels between nodes: numbers are frozen, append only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use synckairos_protocol::{error::Kind, reject::Reject, time::Stamp, wire::problem::Problem};

use crate::sessions::refusal::Refusal;

/// Every one of them can be sent again: the second time finds it done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OperatorRequest {
    /// Whoever shows the secret of `digest` within `ttl_ms` of now may join, in place of
    /// `replaces`.
    CreateToken { id: [u8; 16], digest: [u8; 32], ttl_ms: u64, replaces: Option<u64> },
    /// A node shows a token and says where it will be reached. `key` is the hash of its
    /// public key.
    Admit { token: [u8; 16], digest: [u8; 32], key: [u8; 32], peer: String, http: String },
    /// Takes a node out of the cluster for good.
    Remove {
        node: u64,
        /// Although no further voter could fail then.
        accept_no_spare: bool,
    },
    /// Lets this voter lead.
    TransferLeader { to: u64 },
    /// Lets any other voter lead than `from`, where that leads.
    StepDown { from: u64 },
    /// Raises the format level to what all nodes understand.
    FinalizeUpgrade,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OperatorAnswer {
    TokenCreated {
        expires_at: Stamp,
        /// Ids and peer addresses of the members.
        members: Vec<(u64, String)>,
    },
    Admitted {
        node: u64,
        replaces: Option<u64>,
    },
    Removed {
        voters: BTreeSet<u64>,
    },
    Led {
        leader: u64,
    },
    Level {
        before: u16,
        now: u16,
    },
}

/// Nothing was changed, unless the refusal of the way says that this is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum OperatorRefusal {
    #[error(transparent)]
    Way(#[from] Refusal),
    #[error(
        "removing node {node} would leave the voters {}, of which {} (node {}); a majority \
         of {} is {majority}, so nothing could be changed any more: bring another of them back, or \
         add a node (`synckairos cluster token create`), before this one goes",
        list(voters), answer(answering.len()), list(answering), voters.len()
    )]
    LosesQuorum { node: u64, voters: BTreeSet<u64>, answering: BTreeSet<u64>, majority: u64 },
    #[error(
        "removing node {node} would leave {} voters, of which {} (node {}); a majority of {} is \
         {majority}, so the cluster would stop when one more of them fails: add a node first \
         (`synckairos cluster token create`), or say that you accept it with --accept-no-spare",
        voters.len(), answer(answering.len()), list(answering), voters.len()
    )]
    NoSpare { node: u64, voters: BTreeSet<u64>, answering: BTreeSet<u64>, majority: u64 },
    #[error("node {node} is the only voter; a cluster without voters is none: stop it instead")]
    OnlyVoter { node: u64 },
    #[error(
        "a change of members is under way; wait until `synckairos cluster status` shows it done"
    )]
    ChangeUnderWay,
    #[error("node {node} is no voter, so it cannot lead; the voters are {}", list(voters))]
    NotAVoter { node: u64, voters: BTreeSet<u64> },
    #[error(
        "no other voter can lead: none answers, has room on its disk and is caught up; look at \
         `synckairos cluster status`"
    )]
    NobodyToLead,
    #[error(
        "node {} did not answer, so nobody can say what it understands: bring it back, or remove \
         it, then finalize again",
        list(nodes)
    )]
    Unheard { nodes: BTreeSet<u64> },
    #[error("node {node} did not take the leadership over; look at its log, or choose another one")]
    NotTakenOver { node: u64 },
    #[error(
        "node {node} has caught up and takes no more entries, so it does not vote yet: look at its \
         disk"
    )]
    TakesNothing { node: u64 },
}

impl OperatorRefusal {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Way(refusal) => refusal.kind(),
            Self::LosesQuorum { .. } | Self::NoSpare { .. } | Self::OnlyVoter { .. } => {
                Kind::TooFewVoters
            }
            Self::ChangeUnderWay => Kind::ChangeUnderWay,
            Self::NotAVoter { .. } => Kind::NodeNotFound,
            Self::NobodyToLead | Self::NotTakenOver { .. } => Kind::NotTransferred,
            Self::Unheard { .. } | Self::TakesNothing { .. } => Kind::NodesUnheard,
        }
    }

    /// The body of the error answer.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Way(Refusal::Rejected(reject)) => Problem::from_reject(reject),
            Self::LosesQuorum { node, voters, answering, majority }
            | Self::NoSpare { node, voters, answering, majority } => self
                .plain()
                .with("node", *node)
                .with("voters", ids(voters))
                .with("answering", ids(answering))
                .with("majority", *majority),
            Self::OnlyVoter { node }
            | Self::NotTakenOver { node }
            | Self::TakesNothing { node } => self.plain().with("node", *node),
            Self::NotAVoter { node, voters } => {
                self.plain().with("node", *node).with("voters", ids(voters))
            }
            Self::Unheard { nodes } => self.plain().with("nodes", ids(nodes)),
            Self::Way(_) | Self::ChangeUnderWay | Self::NobodyToLead => self.plain(),
        }
    }

    fn plain(&self) -> Problem {
        Problem::new(self.kind(), self.to_string())
    }
}

impl From<Reject> for OperatorRefusal {
    fn from(reject: Reject) -> Self {
        Self::Way(Refusal::Rejected(reject))
    }
}

fn ids(nodes: &BTreeSet<u64>) -> Vec<u64> {
    nodes.iter().copied().collect()
}

fn list(nodes: &BTreeSet<u64>) -> String {
    if nodes.is_empty() {
        return String::from("none");
    }
    let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
    nodes.join(", ")
}

fn answer(count: usize) -> String {
    match count {
        1 => String::from("1 answers"),
        count => format!("{count} answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_to_remove_shows_its_arithmetic() {
        let refusal = OperatorRefusal::LosesQuorum {
            node: 3,
            voters: [1, 2].into(),
            answering: [1].into(),
            majority: 2,
        };
        let text = refusal.to_string();
        assert!(
            text.contains("the voters 1, 2, of which 1 answers (node 1); a majority of 2 is 2"),
            "{text}"
        );
        let problem = refusal.problem().error;
        assert_eq!((problem.kind.as_str(), problem.retryable), ("TOO_FEW_VOTERS", false));
        assert_eq!(problem.context["answering"], serde_json::json!([1]));
    }
}
