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

/// Runs until `stopping` is cancelled.
pub(crate) async fn run(members: Members, stopping: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut half_done_since: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        if !members.sessions.leads() {
            half_done_since = None;
            continue;
        }
        let step = plan::next(&members.view());
        if step != Some(Step::Finish) {
            half_done_since = None;
        }
        let Some(step) = step else { continue };
        if step == Step::Finish
            && half_done_since.get_or_insert_with(Instant::now).elapsed() < FINISH_AFTER
        {
            continue;
        }
        if let Err(refusal) = members.take(step.clone()).await {
            // It is tried again.
            warn!(?step, reason = %refusal, "the members were not changed");
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
                self.change(Change::Promote { node, instead_of }).await?;
                info!(node, ?instead_of, "a node has caught up and votes");
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
