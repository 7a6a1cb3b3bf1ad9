//! What one client has been told of one session, so that each thing is told once and in order,
//! whether it comes from the history or live.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use synckairos_protocol::{ids::SessionId, session::Session, time::Stamp};
use synckairos_raft_store::StoredUpdate;

use super::{hub::Push, messages};

/// The last update that a client has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) version: u64,
    /// Of that version. It tells the session from another one of the same id, whose versions also
    /// began at 1.
    pub(crate) revision: Option<u64>,
}

/// What a node knows of a session.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// Everything after the point that was asked for; `None` where that is not kept any more, or
    /// nothing was asked for.
    pub(crate) updates: Option<Vec<StoredUpdate>>,
    /// The latest state, read after the updates.
    pub(crate) session: Option<Arc<Session>>,
    /// Of that state, where it is known.
    pub(crate) revision: Option<u64>,
}

/// One message about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    pub(super) name: &'static str,
    /// Where the client is once it has this; `None` where it stays where it was.
    pub(super) point: Option<Point>,
    pub(super) text: Utf8Bytes,
}

pub(super) const UPDATE: &str = "STATE_UPDATE";
pub(super) const SYNC: &str = "STATE_SYNC";
pub(super) const WARNING: &str = "WARNING";
pub(super) const DELETED: &str = "SESSION_DELETED";

/// What a push means to one client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The client knows it.
    Old,
    Tell(Telling),
    /// The last that there is to tell.
    End(Telling),
    /// Something was skipped.
    Resync,
}

/// What there is to tell after a look at the past.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CatchUp {
    pub(super) tellings: Vec<Telling>,
    /// The session is gone.
    pub(super) ended: bool,
}

/// Where one client is in one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    last: Option<Point>,
}

impl Told {
    /// Nothing yet, or up to `point` by another node.
    pub(super) const fn up_to(point: Option<Point>) -> Self {
        Self { last: point }
    }

    /// Where the client is; `None` where it was told of nothing and said nothing.
    pub(super) const fn point(self) -> Option<Point> {
        self.last
    }

    /// The client was told the state at `version`; its revision was not looked up.
    pub(super) fn synced(&mut self, version: u64) {
        if self.last.is_none_or(|last| last.version != version) {
            self.last = Some(Point { version, revision: None });
        }
    }

    pub(super) fn take(&mut self, push: Push) -> News {
        match push {
            Push::Update { version, revision, text } => {
                if !self.is_news(version, revision) {
                    return News::Old;
                }
                let point = Some(Point { version, revision: Some(revision) });
                self.last = point;
                News::Tell(Telling { name: UPDATE, point, text })
            }
            Push::Notice(text) => News::Tell(Telling { name: WARNING, point: None, text }),
            Push::Deleted { revision, text } => {
                // The end of an earlier session of this id, which the client never saw.
                let old = self.last.and_then(|last| last.revision).is_some_and(|at| revision < at);
                if old {
                    News::Old
                } else {
                    News::End(Telling { name: DELETED, point: None, text })
                }
            }
            Push::Resync => News::Resync,
        }
    }

    /// Versions count from 1 for each session of an id; revisions never go back.
    fn is_news(self, version: u64, revision: u64) -> bool {
        let Some(last) = self.last else { return true };
        match last.revision {
            Some(at) => (at, last.version) < (revision, version),
            None => last.version < version,
        }
    }

    /// Tells `past`, which was looked up after the point where this client is.
    ///
    /// `state` asks for the latest state even where every update is there.
    pub(super) fn catch_up(
        &mut self,
        session: SessionId,
        past: &Past,
        state: bool,
        now: Stamp,
    ) -> CatchUp {
        let from = self.last;
        let updates = past.updates.as_deref().filter(|updates| follows(from, updates));
        let mut tellings = Vec::new();
        match (updates, &past.session) {
            // It is gone, and nothing that led there is left.
            (None | Some([]), None) => {
                let ended = from.is_some_and(|from| from.version != 0);
                if ended {
                    let text = messages::gone(session, now);
                    tellings.push(Telling { name: DELETED, point: None, text });
                }
                return CatchUp { tellings, ended };
            }
            (Some(updates), latest) => {
                #[cfg(feature = "planted-bugs")]
                let updates = crate::planted::replayed(updates, latest.as_ref());
                tellings.extend(updates.iter().map(|update| self.replay(update, now)));
                if let Some(latest) = latest.as_ref().filter(|_| state) {
                    tellings.push(self.sync(latest, past.revision, Some(true), now));
                }
            }
            (None, Some(latest)) => {
                let resumed = from.map(|_| false);
                tellings.push(self.sync(latest, past.revision, resumed, now));
            }
        }
        CatchUp { tellings, ended: false }
    }

    fn replay(&mut self, update: &StoredUpdate, now: Stamp) -> Telling {
        let (session, revision) = (&update.session, update.revision);
        let point = Some(Point { version: session.version, revision: Some(revision) });
        self.last = point;
        let text = messages::update(session, (&update.event, update.cause), revision, now);
        Telling { name: UPDATE, point, text }
    }

    fn sync(
        &mut self,
        session: &Session,
        revision: Option<u64>,
        resumed: Option<bool>,
        now: Stamp,
    ) -> Telling {
        let known = self.last.filter(|last| last.version == session.version);
        let revision = revision.or(known.and_then(|last| last.revision));
        let point = Some(Point { version: session.version, revision });
        self.last = point;
        Telling { name: SYNC, point, text: messages::sync(session, revision, resumed, now) }
    }
}

/// Do these updates follow `from` without a gap? What does not is no history.
fn follows(from: Option<Point>, updates: &[StoredUpdate]) -> bool {
    let Some(from) = from else { return false };
    let versions = updates.iter().map(|update| update.session.version);
    versions.zip(from.version.saturating_add(1)..).all(|(version, expected)| version == expected)
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
