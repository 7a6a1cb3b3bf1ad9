//! Which of the messages of changing sockets are news. Pure, so that every order of them can be
//! tried.

use synckairos_protocol::{
    error::Kind,
    time::Stamp,
    wire::{rest::SessionState, ws::ServerMessage},
};

use super::{FollowEvent, Update};

/// What is known of the session, over all sockets.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: Option<Known>,
    /// Has this socket told the session already?
    told_here: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Tells a session from an earlier one of the same id, whose versions also began at 1.
    created_at: Stamp,
    version: u64,
    /// The largest one heard of.
    revision: u64,
    /// Of that version, where a node said so.
    exact: Option<u64>,
}

/// Where the next node is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) version: u64,
    pub(super) revision: Option<u64>,
}

/// What to tell the follower, and what to do then.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) events: Vec<FollowEvent>,
    pub(super) then: Then,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Read on.
    Read,
    /// The subscription holds, and what was missed comes by itself.
    Connected,
    /// The subscription holds, but the node cannot resume: ask for the state.
    AskForState,
    /// The state that was asked for has been told.
    Synced,
    /// This node cannot serve the follower.
    Leave(String),
    /// The session is gone.
    End,
}

impl Tracker {
    /// A new socket, perhaps to another node.
    pub(super) fn reconnected(&mut self) {
        self.told_here = false;
    }

    /// The last version that was told; `None` where there was none.
    pub(super) fn point(&self) -> Option<Point> {
        self.known.map(|known| Point { version: known.version, revision: known.exact })
    }

    pub(super) fn take(&mut self, message: ServerMessage) -> Step {
        match message {
            ServerMessage::Connected { resuming, .. } => {
                // The nodes of an earlier release do not know of `since`.
                let resumes = self.known.is_none() || resuming == Some(true);
                Step::quiet(if resumes { Then::Connected } else { Then::AskForState })
            }
            ServerMessage::StateUpdate { state, version, revision, cause, server_time, .. } => {
                let (revision, cause) = (Some(revision), Some(cause));
                let update = Update { state, version, revision, cause, server_time };
                self.update(update, Then::Read)
            }
            ServerMessage::StateSync { state, version, revision, server_time, .. } => {
                let update = Update { state, version, revision, cause: None, server_time };
                self.update(update, Then::Synced)
            }
            ServerMessage::SessionDeleted { revision, cause, .. } => {
                // A node that lags behind may tell the end of an earlier session of this id.
                let old = matches!((self.known, revision), (Some(known), Some(revision))
                    if revision <= known.revision);
                if old { Step::quiet(Then::Read) } else { Step::end(revision, cause) }
            }
            ServerMessage::Warning { version, revision, participant, threshold, at, .. } => Step {
                events: vec![FollowEvent::Warning {
                    participant,
                    threshold,
                    at,
                    version,
                    revision,
                }],
                then: Then::Read,
            },
            ServerMessage::Error { code, message, .. } => self.error(&code, message),
            ServerMessage::Stale { since } => {
                let reason = format!("out of touch with the leader since {}", since.unix_millis());
                Step::quiet(Then::Leave(reason))
            }
            ServerMessage::Pong { .. }
            | ServerMessage::Subscribed { .. }
            | ServerMessage::Unsubscribed { .. }
            | ServerMessage::Unknown => Step::quiet(Then::Read),
        }
    }

    fn update(&mut self, update: Update, then: Then) -> Step {
        let SessionState { created_at, .. } = *update.state;
        let (version, exact) = (update.version, update.revision);
        let revision = exact.unwrap_or(0);
        self.told_here = true;
        let Some(known) = &mut self.known else {
            self.known = Some(Known { created_at, version, revision, exact });
            return Step { events: vec![FollowEvent::Updated(update)], then };
        };
        if known.created_at < created_at {
            return Step::end(None, None);
        }
        if created_at == known.created_at && version == known.version {
            known.exact = known.exact.or(exact);
        }
        if created_at < known.created_at || version <= known.version {
            return Step::quiet(then);
        }
        let after = known.version;
        (known.version, known.exact) = (version, exact);
        known.revision = known.revision.max(revision);
        let gap = (after + 1 < version).then_some(FollowEvent::Gap { after, next: version });
        let events = gap.into_iter().chain([FollowEvent::Updated(update)]).collect();
        Step { events, then }
    }

    fn error(&self, code: &str, message: String) -> Step {
        if code != Kind::SessionNotFound.as_str() {
            return Step::quiet(Then::Leave(format!("{code}: {message}")));
        }
        if self.told_here {
            // It was made, and told, while the node looked for it.
            Step::quiet(Then::Synced)
        } else if self.known.is_some() {
            Step::end(None, None)
        } else {
            Step { events: vec![FollowEvent::Absent], then: Then::Synced }
        }
    }
}

impl Step {
    fn quiet(then: Then) -> Self {
        Self { events: Vec::new(), then }
    }

    fn end(revision: Option<u64>, cause: Option<synckairos_protocol::wire::ws::CauseForm>) -> Self {
        Self { events: vec![FollowEvent::Deleted { revision, cause }], then: Then::End }
    }
}
