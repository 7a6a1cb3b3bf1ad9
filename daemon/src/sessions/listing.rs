//! Pages of sessions, and how fresh the state is that this node answers from by itself.

use std::{sync::Arc, time::Duration};

use openraft::{async_runtime::WatchReceiver, rt::Instant as _};
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use synckairos_protocol::{
    ids::SessionId,
    limits,
    machine::Machine,
    session::Session,
    time::Millis,
    wire::listing::{Consistency, Freshness, ListQuery},
};

use super::{Leader, Sessions, refusal::Refusal};

/// Bytes of a session's JSON without its participants and metadata, about.
const SESSION_BYTES: usize = 600;
/// Bytes of one participant's, about.
const PARTICIPANT_BYTES: usize = 256;

/// Some of the sessions, ordered by id.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) sessions: Vec<Arc<Session>>,
    /// Where the next page begins, where there is one.
    pub(crate) next: Option<SessionId>,
    /// Where nobody confirmed that this is the latest state.
    pub(crate) freshness: Option<Freshness>,
}

impl Sessions {
    /// The session as this node has it, at once.
    pub(crate) fn read_stale(&self, id: SessionId) -> (Option<Arc<Session>>, Freshness) {
        // First, so that what is read then is at least as fresh.
        let freshness = self.freshness();
        (self.shared.applied.session(id), freshness)
    }

    /// One page of the sessions.
    ///
    /// # Errors
    /// [`Refusal::NoLeader`] where no majority confirms in time that this is the latest state, and
    /// the query wants that.
    pub(crate) async fn list(&self, query: ListQuery) -> Result<Page, Refusal> {
        let freshness = match query.consistency {
            Consistency::Linearizable => {
                self.catch_up().await?;
                None
            }
            Consistency::Stale => Some(self.freshness()),
        };
        let (sessions, next) = self.shared.applied.read(|machine| page(machine, &query));
        Ok(Page { sessions, next, freshness })
    }

    fn freshness(&self) -> Freshness {
        let applied = &self.shared.applied;
        let revision = applied.applied_index().unwrap_or(0);
        let heard_ms = u64::try_from(self.leader_heard().as_millis()).unwrap_or(u64::MAX);
        Freshness { revision, as_of_ms: applied.now(), leader_heard_ms: Millis::new(heard_ms) }
    }

    /// How long ago this node heard its leader, or as the leader a majority.
    pub(super) fn leader_heard(&self) -> Duration {
        let heard = match self.leader() {
            Leader::This => self.quorum_heard(),
            Leader::Other(..) | Leader::Unknown => None,
        };
        heard.unwrap_or_else(|| self.shared.clock.silence())
    }

    /// How long ago a majority answered this node, which leads; `None` where none has yet.
    pub(super) fn quorum_heard(&self) -> Option<Duration> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        // A node alone is its own majority, and openraft does not say so again and again.
        if metrics.membership_config.membership().voter_ids().count() == 1 {
            return Some(Duration::ZERO);
        }
        metrics.last_quorum_acked.map(|acked| acked.elapsed())
    }
}

/// The sessions after the cursor that the query asks for, and where to go on. Applying waits
/// meanwhile, so only so many are looked at.
fn page(machine: &Machine, query: &ListQuery) -> (Vec<Arc<Session>>, Option<SessionId>) {
    let (mut sessions, mut last, mut bytes) = (Vec::new(), None, 0);
    let mut rest = machine.sessions_after(query.cursor);
    for session in rest.by_ref().take(limits::LIST_SCAN_MAX) {
        last = Some(session.id);
        if query.status.is_some_and(|status| status != session.status()) {
            continue;
        }
        bytes += bytes_about(session);
        sessions.push(Arc::clone(session));
        if query.limit <= sessions.len() || limits::LIST_BYTES_MAX <= bytes {
            break;
        }
    }
    #[cfg(feature = "planted-bugs")]
    if Plant::ListOmitsOne.is_on() {
        return (sessions, rest.next().map(|session| session.id));
    }
    let more = rest.next().is_some();
    (sessions, last.filter(|_| more))
}

fn bytes_about(session: &Session) -> usize {
    let participants = session.participants.len() + session.groups.len();
    SESSION_BYTES
        + participants * PARTICIPANT_BYTES
        + session.metadata.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::{
        command::{Command, CommandBatch, Expected, Stamped},
        ids::ParticipantId,
        session::{NewParticipant, NewSession, Status, SyncMode},
        time::Stamp,
    };

    use super::*;

    fn new_session(number: u128, participants: u128) -> NewSession {
        let bank = Millis::new(60_000);
        let participant = |index: u128| NewParticipant {
            id: ParticipantId::from_bits(index),
            index: 0,
            bank,
            group: None,
        };
        NewSession {
            id: SessionId::from_bits(number),
            mode: SyncMode::PerParticipant,
            participants: (0..participants).map(participant).collect(),
            groups: Vec::new(),
            total_time: bank,
            time_per_cycle: None,
            increment: Millis::ZERO,
            max_time: None,
            on_timeout: None,
            auto_advance: None,
            warnings: Vec::new(),
            metadata: None,
            first: None,
        }
    }

    /// Sessions 0, 1, 2 and so on, of which every third runs.
    fn machine(sessions: u128, participants: u128) -> Machine {
        let stamp = Stamp::from_unix_millis(1_000);
        let mut commands = Vec::new();
        for number in 0..sessions {
            let new = new_session(number, participants);
            let session = new.id;
            commands.push(Command::Create(Box::new(new)));
            if number % 3 == 0 {
                commands.push(Command::Start { session, expected: Expected::Seen(1) });
            }
        }
        let commands = commands.into_iter().map(|command| Stamped { stamp, command }).collect();
        let mut machine = Machine::default();
        assert!(machine.apply(&CommandBatch { commands }).answers.iter().all(Result::is_ok));
        machine
    }

    /// The numbers of the sessions, page by page.
    fn walk(machine: &Machine, mut query: ListQuery) -> Vec<Vec<u128>> {
        let mut pages = Vec::new();
        loop {
            let (sessions, next) = page(machine, &query);
            let number = |session: &Arc<Session>| {
                let key: [u8; 16] = session.id.to_key()[..16].try_into().unwrap();
                u128::from_be_bytes(key)
            };
            pages.push(sessions.iter().map(number).collect());
            let Some(next) = next else { return pages };
            query.cursor = Some(next);
        }
    }

    #[test]
    fn pages_together_are_all_sessions_once_and_in_order() {
        let machine = machine(100, 1);
        for limit in [1, 7, 50, 99, 100, 101, 200] {
            let pages = walk(&machine, ListQuery { limit, ..ListQuery::default() });
            assert!(pages.iter().all(|page| page.len() <= limit), "{limit}");
            assert_eq!(pages.concat(), (0..100).collect::<Vec<_>>(), "{limit}");
        }
        let status = Some(Status::Running);
        let pages = walk(&machine, ListQuery { limit: 10, status, ..ListQuery::default() });
        assert_eq!(pages.concat(), (0..100).step_by(3).collect::<Vec<_>>());
        assert_eq!(walk(&Machine::default(), ListQuery::default()), [Vec::<u128>::new()]);
    }

    #[test]
    fn a_page_is_bounded_in_bytes_and_in_what_is_looked_at() {
        let large = machine(30, 1_000);
        let pages = walk(&large, ListQuery::default());
        assert!(pages.iter().all(|page| page.len() <= 5), "{pages:?}");
        assert_eq!(pages.concat().len(), 30);
        let many = machine(25_000, 1);
        let status = Some(Status::Completed);
        let pages = walk(&many, ListQuery { status, ..ListQuery::default() });
        assert_eq!(pages.len(), 3, "none found, and looked for all the same");
    }
}
