//! The replicated state machine: sessions, the index of their deadlines, and cluster time.
//!
//! Every replica feeds it the same batches in the same order and holds the same state after each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    command::{Command, CommandBatch, Stamped},
    event::{Answer, Cause, Change, Event, Outcome},
    ids::SessionId,
    limits,
    reject::Reject,
    session::{NewSession, Session, Switched},
    time::Stamp,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    now: Stamp,
    sessions: BTreeMap<SessionId, Arc<Session>>,
    /// When the running clock of each session next does something by itself.
    deadlines: BTreeSet<(Stamp, SessionId)>,
    /// Sessions that may be removed, by the time of their last change.
    idle: BTreeSet<(Stamp, SessionId)>,
}

impl Machine {
    /// The machine that holds these sessions and has seen the time `now`.
    pub fn restore(now: Stamp, sessions: impl IntoIterator<Item = Session>) -> Self {
        let mut machine = Self { now, ..Self::default() };
        for session in sessions {
            machine.put(Arc::new(session));
        }
        machine
    }

    /// The largest stamp applied.
    pub fn now(&self) -> Stamp {
        self.now
    }

    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(&id)
    }

    /// All sessions, ordered by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// The earliest instant at which a `Tick` has something to do.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// Since when the longest idle removable session has not changed.
    pub fn longest_idle(&self) -> Option<Stamp> {
        self.idle.first().map(|(since, _)| *since)
    }

    /// Applies one committed batch, command by command.
    pub fn apply(&mut self, batch: &CommandBatch) -> Outcome {
        let mut outcome = Outcome::default();
        for stamped in &batch.commands {
            let answer = self.apply_one(stamped, &mut outcome.changes);
            outcome.answers.push(answer);
        }
        outcome
    }

    /// Applies one committed command and appends what changed to `changes`.
    ///
    /// Either the whole command takes effect, or the session is as if only time had passed: what
    /// fell due by the stamp takes effect in both cases, before the command is looked at.
    ///
    /// # Errors
    /// The reason why the command changed nothing.
    pub fn apply_one(
        &mut self,
        stamped: &Stamped,
        changes: &mut Vec<Change>,
    ) -> Result<Answer, Reject> {
        self.now = self.now.max(stamped.stamp);
        let now = self.now;
        match &stamped.command {
            Command::Create(new) => self.create(new, changes),
            Command::Start { session, expected } => {
                self.transition(*session, changes, |draft| draft.start(*expected, now))
            }
            Command::Switch { session, expected, current, next } => {
                let mut session = self.settled(*session, changes)?;
                let Switched { event, expired } =
                    Arc::make_mut(&mut session).switch(*expected, *current, *next, now)?;
                self.commit(&session, event, changes);
                Ok(Answer::Switched { session, expired })
            }
            Command::Pause { session, expected } => {
                self.transition(*session, changes, |draft| draft.pause(*expected, now))
            }
            Command::Resume { session, expected } => {
                self.transition(*session, changes, |draft| draft.resume(*expected, now))
            }
            Command::Complete { session, expected } => {
                self.transition(*session, changes, |draft| draft.complete(*expected, now))
            }
            Command::Delete { session } => {
                // Deleting does not unmake what the clock did before.
                let existed = self.settled(*session, changes).is_ok();
                if existed && self.remove(*session) {
                    let cause = Cause::Command;
                    changes.push(Change::Deleted { session: *session, at: now, cause });
                }
                Ok(Answer::Deleted)
            }
            Command::Tick { sessions_max } => Ok(self.tick(*sessions_max, changes)),
            Command::Sweep { idle_before, sessions_max } => {
                Ok(self.sweep(*idle_before, *sessions_max, changes))
            }
        }
    }

    fn create(&mut self, new: &NewSession, changes: &mut Vec<Change>) -> Result<Answer, Reject> {
        let existing = self.settled(new.id, changes).ok();
        if let Some(rule) = new.broken_rule() {
            return Err(Reject::BrokenRule { session: new.id, rule: rule.to_owned() });
        }
        let created = new.at(self.now);
        if let Some(existing) = existing {
            return if existing.is_fresh_copy_of(&created) {
                Ok(Answer::Session(existing))
            } else {
                Err(Reject::SessionExists(new.id))
            };
        }
        if self.sessions.len() >= limits::SESSIONS_MAX {
            return Err(Reject::TooManySessions { max: limits::SESSIONS_MAX as u64 });
        }
        let session = Arc::new(created);
        self.commit(&session, Event::Created, changes);
        Ok(Answer::Session(session))
    }

    fn transition(
        &mut self,
        id: SessionId,
        changes: &mut Vec<Change>,
        step: impl FnOnce(&mut Session) -> Result<Event, Reject>,
    ) -> Result<Answer, Reject> {
        let mut session = self.settled(id, changes)?;
        let event = step(Arc::make_mut(&mut session))?;
        self.commit(&session, event, changes);
        Ok(Answer::Session(session))
    }

    /// The session with everything applied that fell due by now.
    fn settled(
        &mut self,
        id: SessionId,
        changes: &mut Vec<Change>,
    ) -> Result<Arc<Session>, Reject> {
        let session = self.sessions.get(&id).ok_or(Reject::SessionNotFound(id))?;
        let due = session.next_due();
        let mut session = Arc::clone(session);
        if due.is_some_and(|due| due <= self.now) {
            session = session.settle(self.now, changes);
            self.put(Arc::clone(&session));
        }
        Ok(session)
    }

    fn tick(&mut self, sessions_max: u32, changes: &mut Vec<Change>) -> Answer {
        let mut sessions = 0;
        // Counted from here, so that a batch does what its commands do one by one.
        let mut settled = Vec::new();
        while sessions < sessions_max && settled.len() < limits::TICK_CHANGES_MAX {
            let Some(&(due, id)) = self.deadlines.first() else { break };
            let Some(session) = self.sessions.get(&id).filter(|_| due <= self.now) else { break };
            let session = Arc::clone(session);
            self.put(session.settle_some(self.now, limits::TICK_CHANGES_MAX, &mut settled));
            sessions += 1;
        }
        changes.append(&mut settled);
        let more = self.next_deadline().is_some_and(|due| due <= self.now);
        Answer::Swept { sessions, more }
    }

    fn sweep(
        &mut self,
        idle_before: Stamp,
        sessions_max: u32,
        changes: &mut Vec<Change>,
    ) -> Answer {
        let mut sessions = 0;
        while sessions < sessions_max {
            let Some(&(since, id)) = self.idle.first() else { break };
            if idle_before <= since || !self.remove(id) {
                break;
            }
            changes.push(Change::Deleted { session: id, at: self.now, cause: Cause::Auto });
            sessions += 1;
        }
        let more = self.longest_idle().is_some_and(|since| since < idle_before);
        Answer::Swept { sessions, more }
    }

    fn commit(&mut self, session: &Arc<Session>, event: Event, changes: &mut Vec<Change>) {
        self.put(Arc::clone(session));
        changes.push(Change::Updated {
            session: Arc::clone(session),
            event,
            cause: Cause::Command,
        });
    }

    fn put(&mut self, session: Arc<Session>) {
        self.remove(session.id);
        if let Some(due) = session.next_due() {
            self.deadlines.insert((due, session.id));
        }
        if session.is_removable() {
            self.idle.insert((session.updated_at, session.id));
        }
        self.sessions.insert(session.id, session);
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        if let Some(due) = session.next_due() {
            self.deadlines.remove(&(due, id));
        }
        self.idle.remove(&(session.updated_at, id));
        true
    }
}
