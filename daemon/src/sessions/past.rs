//! What this node has applied of one session: for streams that begin in the past.

use synckairos_protocol::ids::SessionId;
use synckairos_raft_store::{Applied, StateError};

use super::Sessions;
use crate::push::{Past, Point};

impl Sessions {
    /// Every update after a point, where one is given and they are kept; and the state. As far as
    /// this node has applied the log: a caller that needs the latest has read the session before.
    pub(crate) async fn past(&self, session: SessionId, after: Option<Point>) -> Past {
        let applied = self.shared.applied.clone();
        let looked = tokio::task::spawn_blocking(move || look(&applied, session, after));
        match looked.await {
            Ok(Ok(past)) => past,
            Ok(Err(error)) => {
                tracing::warn!(%session, %error, "the history cannot be read; the state is told");
                self.present(session)
            }
            // The runtime is stopping, or the look panicked, which the log has.
            Err(_) => self.present(session),
        }
    }

    fn present(&self, session: SessionId) -> Past {
        Past { updates: None, session: self.shared.applied.session(session), revision: None }
    }
}

fn look(applied: &Applied, session: SessionId, after: Option<Point>) -> Result<Past, StateError> {
    let updates = match after {
        Some(point) => applied.updates_after(session, point.version, point.revision)?,
        None => None,
    };
    let state = applied.session(session);
    if let Some(last) = updates.as_ref().and_then(|updates| updates.last()) {
        let same = state.as_ref().is_some_and(|state| state.version == last.session.version);
        let revision = same.then_some(last.revision);
        return Ok(Past { updates, session: state, revision });
    }
    let Some(latest) = &state else { return Ok(Past { updates, session: None, revision: None }) };
    // The latest update has the state and its revision as one.
    let before = latest.version.saturating_sub(1);
    let last = applied.updates_after(session, before, None)?.and_then(|mut last| last.pop());
    Ok(match last {
        Some(last) => {
            let revision = Some(last.revision);
            Past { updates, session: Some(last.session), revision }
        }
        None => Past { updates, session: state, revision: None },
    })
}
