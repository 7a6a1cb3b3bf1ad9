//! What a running clock is given back after a span in which nobody could act.

use std::sync::Arc;

use super::{Phase, Session};
#[cfg(feature = "planted-bugs")]
use crate::plant::Plant;
use crate::{
    event::{Cause, Change, Event},
    time::Stamp,
};

impl Session {
    /// The session with the span from `from` to `now` not charged. What fell due by `from` takes
    /// effect first; what would have fallen due within the span has not.
    pub(crate) fn credit_outage(
        self: Arc<Self>,
        from: Stamp,
        now: Stamp,
        changes: &mut Vec<Change>,
    ) -> Arc<Self> {
        let mut session = self.settle(from, changes);
        let Phase::Running { active, since } = session.phase else { return session };
        let from = from.max(since);
        let credited = now.since(from);
        if !session.is_freezable() || credited.is_zero() {
            return session;
        }
        let draft = Arc::make_mut(&mut session);
        let participant = draft.participant(active).id;
        let since = since.after(credited);
        #[cfg(feature = "planted-bugs")]
        let since = if Plant::OutageCreditedTwice.is_on() { since.after(credited) } else { since };
        draft.phase = Phase::Running { active, since };
        draft.version += 1;
        draft.updated_at = now;
        let event = Event::OutageCredited { participant, from, until: now, credited };
        let cause = Cause::Auto;
        changes.push(Change::Updated { session: Arc::clone(&session), event, cause });
        session
    }
}
