//! What falls due by itself, applied in order of its due time and at that time.

use std::sync::Arc;

use super::{OnTimeout, Phase, Session, banks::AtDeadline, deadline::Due};
#[cfg(feature = "planted-bugs")]
use crate::plant::Plant;
use crate::{
    event::{Cause, Change, Event, Warning},
    time::Stamp,
};

impl Session {
    /// The session with everything applied that fell due by `now`, each as a change.
    ///
    /// Settling at an earlier instant first makes no difference.
    pub fn settle(self: Arc<Self>, now: Stamp, changes: &mut Vec<Change>) -> Arc<Self> {
        self.settle_some(now, usize::MAX, changes)
    }

    /// As [`Session::settle`], but stops once there are `changes_max` changes; what is left falls
    /// due the next time.
    pub(crate) fn settle_some(
        self: Arc<Self>,
        now: Stamp,
        changes_max: usize,
        changes: &mut Vec<Change>,
    ) -> Arc<Self> {
        let mut session = self;
        while let Some((at, due)) = session.next_due_event() {
            if now < at || changes_max <= changes.len() {
                break;
            }
            let draft = Arc::make_mut(&mut session);
            match due {
                Due::Warning(threshold) => {
                    draft.warned = Some(threshold);
                    let Some(active) = draft.active() else { break };
                    let participant = draft.participant(active).id;
                    let warning = Warning { participant, threshold, at };
                    changes.push(Change::Warned { session: Arc::clone(&session), warning });
                }
                Due::Expiry => {
                    #[cfg(feature = "planted-bugs")]
                    let at = if Plant::ExpiryAtNotice.is_on() { now } else { at };
                    let Some((event, cause)) = draft.fall_due(at) else { break };
                    changes.push(Change::Updated { session: Arc::clone(&session), event, cause });
                }
            }
        }
        session
    }

    fn fall_due(&mut self, at: Stamp) -> Option<(Event, Cause)> {
        let Phase::Running { active, .. } = self.phase else { return None };
        let participant = self.participant(active).id;
        self.charge(at);
        self.mark_expired(active, at);
        self.version += 1;
        self.updated_at = at;
        let next = match self.at_deadline() {
            AtDeadline::RunOn => {
                let action = self.action();
                let event = Event::ParticipantExpired { participant, due: at, action };
                return Some((event, Cause::Timeout));
            }
            AtDeadline::Skip => self.next_unexpired(active),
            AtDeadline::End => None,
        };
        let Some(next) = next else {
            self.phase = Phase::Expired { seat: active, at };
            self.expired_at = Some(at);
            self.completed_at = Some(at);
            return Some((Event::SessionExpired { participant, due: at }, Cause::Timeout));
        };
        self.participants[active.index()].cycles += 1;
        self.begin_cycle(next, at);
        let cause = if self.advances_by_itself() { Cause::Auto } else { Cause::Timeout };
        let to = self.participant(next).id;
        let action = self.action();
        Some((Event::CycleSkipped { from: participant, to, due: at, action }, cause))
    }

    fn action(&self) -> Option<String> {
        match &self.on_timeout {
            Some(OnTimeout::AutoAction { action }) => Some(action.clone()),
            Some(OnTimeout::Notify | OnTimeout::SkipCycle | OnTimeout::EndSession) | None => None,
        }
    }
}
