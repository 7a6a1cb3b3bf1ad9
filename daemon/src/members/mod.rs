//! Who belongs to the cluster, and what its operators ask of it: tokens for new nodes, admission,
//! removal, who leads, the format level.
//!
//! Any node takes a request and passes it on to the leader. `requests` is what can be asked, `lead`
//! does it, `plan` decides what the membership needs next, and `keeper` sees to that while this
//! node leads.

pub(crate) mod address;
pub(crate) mod home;
mod keeper;
mod lead;
mod newcomers;
mod plan;
pub(crate) mod removal;
pub(crate) mod requests;
pub(crate) mod token;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use synckairos_protocol::machine::Machine;
use synckairos_raft_store::{Applied, raft_types::PeerNode};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    health::Survey,
    raft::{
        Raft,
        messages::{AppReply, AppRequest},
        vitals::Vitals,
    },
    sessions::{Leader, Sessions, refusal::Refusal},
};
use plan::{Admitted, View};
use requests::{OperatorAnswer, OperatorRefusal, OperatorRequest};

pub(crate) use keeper::run as keep;
pub(crate) use newcomers::run as let_in;

/// Changes of members, and of who leads, take a few round trips, or an election.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A node that the leader has heard since then answers.
const HEARD_MAX: Duration = Duration::from_millis(1_500);

/// A node that wants in.
#[derive(Clone, Debug)]
pub(crate) struct Showing {
    pub(crate) token: [u8; 16],
    /// Of the token's secret.
    pub(crate) digest: [u8; 32],
    /// Hash of its public key.
    pub(crate) key: [u8; 32],
    /// Where it will be reached: `host:port`.
    pub(crate) peer: String,
    pub(crate) http: String,
}

/// A node that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) node: u64,
    pub(crate) replaces: Option<u64>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Members {
    raft: Raft,
    applied: Applied,
    sessions: Sessions,
    survey: Survey,
    /// Held from the look at the members to the end of what follows from it.
    changing: Arc<Mutex<()>>,
}

impl Members {
    pub(crate) fn new(raft: Raft, applied: Applied, sessions: Sessions, survey: Survey) -> Self {
        Self { raft, applied, sessions, survey, changing: Arc::default() }
    }

    /// Lets a node in that shows a token. The same node showing it again gets the same answer.
    ///
    /// # Errors
    /// [`OperatorRefusal`] where the token is not good, or no leader answers.
    pub(crate) async fn admit(&self, showing: Showing) -> Result<Admission, OperatorRefusal> {
        let Showing { token, digest, key, peer, http } = showing;
        let answer = self.ask(OperatorRequest::Admit { token, digest, key, peer, http }).await?;
        let OperatorAnswer::Admitted { node, replaces } = answer else {
            return Err(beside_the_point(&answer));
        };
        Ok(Admission { node, replaces })
    }

    /// Has the leader do it, wherever that is.
    ///
    /// # Errors
    /// [`OperatorRefusal`]; it tells whether the request may still take effect.
    pub(crate) async fn ask(
        &self,
        request: OperatorRequest,
    ) -> Result<OperatorAnswer, OperatorRefusal> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        // What became of an earlier try is not known.
        let mut uncertain = false;
        loop {
            let answer = match self.sessions.leader() {
                Leader::This => self.here(request.clone()).await,
                Leader::Other(node, place) => {
                    let request = AppRequest::Operate(request.clone());
                    match self.sessions.ask(node, &place, request, deadline).await {
                        Ok(AppReply::Operated(answer)) => answer,
                        Ok(_) => Err(Refusal::LeadershipLost.into()),
                        Err(refusal) => Err(refusal.into()),
                    }
                }
                Leader::Unknown => Err(Refusal::NoLeader.into()),
            };
            match answer {
                // Each of these can be asked again: what was done is found done.
                Err(
                    refusal @ (OperatorRefusal::Way(Refusal::NoLeader | Refusal::LeadershipLost)
                    | OperatorRefusal::ChangeUnderWay),
                ) => {
                    uncertain |= refusal == Refusal::LeadershipLost.into();
                    if self.sessions.await_leader(deadline).await.is_err() {
                        let unknown = Refusal::LeadershipLost.into();
                        return Err(if uncertain { unknown } else { refusal });
                    }
                }
                settled => return settled,
            }
        }
    }

    /// What this node knows, as the leader.
    fn view(&self) -> View {
        let vitals = Vitals::of(&self.raft);
        let matched = vitals.followers.iter().filter_map(|(node, follower)| {
            let heard = follower.heard.is_some_and(|heard| heard <= HEARD_MAX);
            heard.then_some((*node, follower.matched))
        });
        let matched = matched.collect();
        let admitted = self.applied.read(|machine| {
            let admitted = machine.roster().all_admitted().map(|(node, admission)| {
                let place = PeerNode { peer: admission.peer.clone(), http: admission.http.clone() };
                (*node, Admitted { place, replaces: admission.replaces })
            });
            admitted.collect()
        });
        View {
            leader: vitals.node,
            settled: vitals.membership_index <= self.applied.applied_index(),
            voters: vitals.voters,
            members: vitals.members.keys().copied().collect(),
            admitted,
            committed: vitals.committed,
            matched,
        }
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.raft.voter_ids().collect()
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<u64> {
        match self.sessions.leader() {
            Leader::This => Some(*self.raft.node_id()),
            Leader::Other(node, _) => Some(node),
            Leader::Unknown => None,
        }
    }

    /// The format level.
    pub(crate) fn level(&self) -> u16 {
        self.applied.read(Machine::level)
    }
}

/// An answer to another question.
pub(crate) fn beside_the_point(answer: &OperatorAnswer) -> OperatorRefusal {
    tracing::error!(?answer, "the leader answered another question");
    Refusal::LeadershipLost.into()
}
