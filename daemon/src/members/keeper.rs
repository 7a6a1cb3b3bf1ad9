//! While this node leads: takes those who were let in as learners, makes them voters when they
//! have caught up, and finishes what an earlier leader left half done.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Members, plan, plan::Step, requests::OperatorRefusal};
use crate::raft::{candidacy, membership::Change};

/// How often the leader looks what the members need.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A change of members that another leader, or an operator's request, has begun is left alone for
/// so long.
const FINISH_AFTER: Duration = Duration::from_secs(2);

/// After a step that failed.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Runs until `stopping` is cancelled.
pub(crate) async fn run(members: Members, stopping: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut half_done_since, mut not_before) = (None, Instant::now());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        if !members.sessions.leads() {
            half_done_since = None;
            continue;
        }
        // An operator's change is under way where it is taken.
        let Ok(_turn) = members.changing.try_lock() else { continue };
        let step = plan::next(&members.view());
        if step != Some(Step::Finish) {
            half_done_since = None;
        }
        let Some(step) = step else { continue };
        let now = Instant::now();
        let left_alone = step == Step::Finish
            && now.duration_since(*half_done_since.get_or_insert(now)) < FINISH_AFTER;
        if left_alone || now < not_before {
            continue;
        }
        if let Err(refusal) = members.take(step.clone()).await {
            warn!(?step, reason = %refusal, "the members were not changed");
            not_before = Instant::now() + RETRY_AFTER;
        }
    }
}

impl Members {
    async fn take(&self, step: Step) -> Result<(), OperatorRefusal> {
        match step {
            Step::Finish => self.change(Change::Finish).await,
            Step::AddLearner { node, place } => {
                self.change(Change::AddLearner { node, place }).await?;
                info!(node, "a node is catching up");
                Ok(())
            }
            Step::Promote { node, instead_of } => {
                if !self.survey.answering().await.contains(&node) {
                    return Err(OperatorRefusal::TakesNothing { node });
                }
                self.change(Change::Promote { node, instead_of }).await?;
                info!(node, ?instead_of, "a node has caught up and votes");
                Ok(())
            }
            Step::Remove { node } => {
                self.change(Change::Remove { node }).await?;
                info!(node, "a node was replaced");
                Ok(())
            }
            Step::HandOver => {
                let able = self.survey.able_to_lead().await;
                if able.is_empty() {
                    return Err(OperatorRefusal::NobodyToLead);
                }
                candidacy::hand_over(&self.raft, &able).await;
                Ok(())
            }
        }
    }
}
