//! What the leader does for operators and for nodes that join.

use std::collections::BTreeSet;

use synckairos_protocol::{
    command::Command,
    event::Answer,
    machine::LEVEL_OLDEST,
    reject::Reject,
    roster::Shown,
    time::{Millis, Stamp},
};
use tracing::info;

use super::{
    Members, Showing, plan,
    requests::{OperatorAnswer, OperatorRefusal, OperatorRequest},
};
use crate::{
    raft::{
        candidacy,
        membership::{self, Change, NotChanged},
        vitals::Vitals,
    },
    sessions::refusal::Refusal,
};

/// The members are known to all nodes from this format level on.
const LEVEL_OF_MEMBERS: u16 = LEVEL_OLDEST + 1;

impl Members {
    /// Does what was asked, as the leader only.
    ///
    /// # Errors
    /// [`Refusal::NoLeader`] where this node does not lead, or gave the leadership away because the
    /// request concerns it: it is to be asked for again, at the next leader.
    pub(crate) async fn here(
        &self,
        request: OperatorRequest,
    ) -> Result<OperatorAnswer, OperatorRefusal> {
        // One that was just elected may not know yet what it did before.
        if !self.sessions.leads() {
            return Err(Refusal::NoLeader.into());
        }
        match request {
            OperatorRequest::CreateToken { id, digest, ttl_ms, replaces } => {
                let now = self.sessions.now().ok_or(Refusal::NoLeader)?;
                let expires_at = now.after(Millis::new(ttl_ms));
                let command = Command::CreateToken { id, digest, expires_at, replaces };
                self.sessions.command_here(command).await?;
                let members = self.survey.peer_addresses();
                Ok(OperatorAnswer::TokenCreated { expires_at, members })
            }
            OperatorRequest::Admit { token, digest, key, peer, http } => {
                self.let_in(Showing { token, digest, key, peer, http }).await
            }
            OperatorRequest::Remove { node, accept_no_spare } => {
                self.remove(node, accept_no_spare).await
            }
            OperatorRequest::TransferLeader { to } => self.transfer(to).await,
            OperatorRequest::StepDown { from } => self.step_down(from).await,
            OperatorRequest::FinalizeUpgrade => self.finalize().await,
        }
    }

    async fn let_in(&self, showing: Showing) -> Result<OperatorAnswer, OperatorRefusal> {
        let now = self.sessions.now().ok_or(Refusal::NoLeader)?;
        // A stranger's guesses do not get into the log.
        if let Err(reject) = self.require_good(&showing, now) {
            // A leader that was cut off may not know of the token.
            self.sessions.read_index_here().await?;
            return Err(reject.into());
        }
        let Showing { token, digest, key, peer, http } = showing;
        let command = Command::AdmitNode { token, digest, key, peer, http };
        let answer = self.sessions.command_here(command).await?;
        let Answer::Admitted { node, replaces } = answer else {
            tracing::error!(?answer, "an admission was answered with something else");
            return Err(Refusal::LeadershipLost.into());
        };
        info!(node, ?replaces, "a node was let in");
        Ok(OperatorAnswer::Admitted { node, replaces })
    }

    /// The token lets the node in, and no member but the one that it replaces has its addresses.
    /// The roster knows those of nodes that came by token only.
    fn require_good(&self, showing: &Showing, now: Stamp) -> Result<(), Reject> {
        let Showing { token, digest, key, peer, http } = showing;
        let shown = Shown { token, digest, key, peer, http };
        let (node, replaces) =
            self.applied.read(|machine| machine.roster().would_admit(&shown, now))?;
        for (member, place) in Vitals::of(&self.raft).members {
            // A node that asks again may be a member by now.
            if member != node && Some(member) != replaces {
                shown.require_apart(member, (&place.peer, &place.http))?;
            }
        }
        Ok(())
    }

    async fn remove(
        &self,
        node: u64,
        accept_no_spare: bool,
    ) -> Result<OperatorAnswer, OperatorRefusal> {
        self.require_level()?;
        let _turn = self.changing.lock().await;
        let view = self.view();
        if !view.members.contains(&node) {
            let retired = self.applied.read(|machine| machine.roster().is_retired(node));
            return if retired {
                Ok(OperatorAnswer::Removed { voters: self.voters() })
            } else {
                Err(Reject::NodeUnknown { node }.into())
            };
        }
        // Not who was heard a moment ago: one that died since then must not count.
        let answering = self.survey.answering().await;
        plan::may_remove(&view, &answering, node, accept_no_spare)?;
        if node == view.leader {
            return Err(self.give_way().await);
        }
        self.change(Change::Remove { node }).await?;
        info!(node, "a node was removed");
        Ok(OperatorAnswer::Removed { voters: self.voters() })
    }

    /// Has somebody else lead, because what is to be done concerns this node.
    async fn give_way(&self) -> OperatorRefusal {
        let able = self.survey.able_to_lead().await;
        if able.is_empty() {
            return OperatorRefusal::NobodyToLead;
        }
        candidacy::hand_over(&self.raft, &able).await;
        Refusal::NoLeader.into()
    }

    async fn transfer(&self, to: u64) -> Result<OperatorAnswer, OperatorRefusal> {
        if to == *self.raft.node_id() {
            return Ok(OperatorAnswer::Led { leader: to });
        }
        let voters = self.voters();
        if !voters.contains(&to) {
            return Err(OperatorRefusal::NotAVoter { node: to, voters });
        }
        // From the offer on this node takes no commands, so it is made to nobody who must refuse.
        if !self.survey.able_to_lead().await.contains(&to) {
            return Err(OperatorRefusal::NotTakenOver { node: to });
        }
        candidacy::hand_over(&self.raft, &[to]).await;
        self.await_other_leader().await
    }

    async fn step_down(&self, from: u64) -> Result<OperatorAnswer, OperatorRefusal> {
        let leader = *self.raft.node_id();
        if leader != from {
            return Ok(OperatorAnswer::Led { leader });
        }
        let able = self.survey.able_to_lead().await;
        if able.is_empty() {
            return Err(OperatorRefusal::NobodyToLead);
        }
        candidacy::hand_over(&self.raft, &able).await;
        self.await_other_leader().await
    }

    /// Who leads after this node.
    async fn await_other_leader(&self) -> Result<OperatorAnswer, OperatorRefusal> {
        let leader = candidacy::successor(&self.raft).await.ok_or(Refusal::LeadershipLost)?;
        Ok(OperatorAnswer::Led { leader })
    }

    async fn finalize(&self) -> Result<OperatorAnswer, OperatorRefusal> {
        let before = self.level();
        let understood = self.survey.understood().await;
        let unheard: BTreeSet<u64> =
            understood.iter().filter(|(_, level)| level.is_none()).map(|(node, _)| *node).collect();
        if !unheard.is_empty() {
            return Err(OperatorRefusal::Unheard { nodes: unheard });
        }
        let level = understood.values().flatten().min().copied().unwrap_or(before).max(before);
        if level != before {
            self.sessions.command_here(Command::SetLevel { level }).await?;
            info!(before, level, "the format level was raised");
        }
        Ok(OperatorAnswer::Level { before, now: level })
    }

    /// Commits one change of members; whose turn it is holds `changing`.
    pub(super) async fn change(&self, change: Change) -> Result<(), OperatorRefusal> {
        membership::change(&self.raft, change).await.map_err(|reason| match reason {
            // The first of two steps may have been made.
            NotChanged::NotLeader => Refusal::LeadershipLost.into(),
            NotChanged::UnderWay => OperatorRefusal::ChangeUnderWay,
            NotChanged::UnknownNode(node) => Reject::NodeUnknown { node }.into(),
            NotChanged::LeadershipLost => Refusal::LeadershipLost.into(),
            NotChanged::TimedOut => Refusal::TimedOut.into(),
        })
    }

    /// Below it nobody would remember whose id must not come back.
    fn require_level(&self) -> Result<(), Reject> {
        let level = self.level();
        if level < LEVEL_OF_MEMBERS {
            return Err(Reject::LevelTooLow { needed: LEVEL_OF_MEMBERS, level });
        }
        Ok(())
    }
}
