//! The replicated state machine: sessions, the index of their deadlines, cluster time, what was
//! answered to whom, and who belongs to the cluster.
//!
//! Every replica feeds it the same batches in the same order and holds the same state after each.

mod atomic;
mod cluster;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::{
    answered::Answered,
    command::{Command, CommandBatch, Stamped},
    event::{Answer, Cause, Change, Event, Outcome},
    ids::SessionId,
    limits,
    reject::Reject,
    roster::{Roster, Shown, Token},
    session::{NewSession, OnOutage, Session, Switched},
    time::Stamp,
};
#[cfg(feature = "planted-bugs")]
use crate::{plant::Plant, time::Millis};

/// The format level of the first release.
pub const LEVEL_OLDEST: u16 = 1;
/// The newest format level that this version understands, and the one of a new cluster.
pub const LEVEL_NEWEST: u16 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    now: Stamp,
    /// What every node understands, and nothing beyond it is proposed.
    level: u16,
    sessions: BTreeMap<SessionId, Arc<Session>>,
    /// When the running clock of each session next does something by itself.
    deadlines: BTreeSet<(Stamp, SessionId)>,
    /// Sessions that may be removed, by the time of their last change.
    idle: BTreeSet<(Stamp, SessionId)>,
    /// Sessions whose running clock an outage must not charge.
    freezable: BTreeSet<SessionId>,
    answered: Answered,
    roster: Roster,
}

/// All that a machine is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub now: Stamp,
    pub level: u16,
    pub sessions: Vec<Session>,
    pub answered: Answered,
    pub roster: Roster,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            now: Stamp::ZERO,
            level: LEVEL_OLDEST,
            sessions: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            idle: BTreeSet::new(),
            freezable: BTreeSet::new(),
            answered: Answered::default(),
            roster: Roster::default(),
        }
    }
}

impl Machine {
    /// The machine of format level 1 that holds these sessions and has seen the time `now`.
    pub fn restore(now: Stamp, sessions: impl IntoIterator<Item = Session>) -> Self {
        Self::from_parts(Parts {
            now,
            sessions: sessions.into_iter().collect(),
            ..Parts::default()
        })
    }

    /// The machine that is made of these parts.
    pub fn from_parts(parts: Parts) -> Self {
        let Parts { now, level, sessions, answered, roster } = parts;
        let level = level.max(LEVEL_OLDEST);
        let mut machine = Self { now, level, answered, roster, ..Self::default() };
        for session in sessions {
            machine.put(Arc::new(session));
        }
        machine
    }

    /// The format level: what every node of the cluster understands.
    pub fn level(&self) -> u16 {
        self.level
    }

    pub fn answered(&self) -> &Answered {
        &self.answered
    }

    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Does a clock run that an outage must not charge?
    pub fn frozen_running(&self) -> bool {
        !self.freezable.is_empty()
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

    /// The sessions after `cursor`, ordered by id; all of them where there is none.
    pub fn sessions_after(&self, cursor: Option<SessionId>) -> impl Iterator<Item = &Arc<Session>> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).map(|(_, session)| session)
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
        self.answered.expire(self.now);
        self.execute(&stamped.command, changes)
    }

    /// Applies a command at the time that it is.
    fn execute(&mut self, command: &Command, changes: &mut Vec<Change>) -> Result<Answer, Reject> {
        let (now, needed) = (self.now, command.level());
        let raises = matches!(command, Command::SetLevel { .. });
        if self.level < needed && !raises {
            return Err(Reject::LevelTooLow { needed, level: self.level });
        }
        match command {
            Command::Create(new) => self.create(new, OnOutage::Charge, changes),
            Command::CreateWith { new, on_outage } => self.create(new, *on_outage, changes),
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
            Command::Atomic { commands } => self.atomic(commands, changes),
            Command::Once { key, command } => self.once(key, command, changes),
            Command::Outage { from } => Ok(self.outage(*from, changes)),
            Command::Beat => Ok(Answer::Done),
            Command::SetLevel { level } => Ok(self.set_level(*level)),
            Command::CreateToken { id, digest, expires_at, replaces } => {
                let (expires_at, replaces) = (*expires_at, *replaces);
                let token = Token { digest: *digest, expires_at, replaces };
                self.roster.create_token(*id, token, now).map(|()| Answer::Done)
            }
            Command::AdmitNode { token, digest, key, peer, http } => self
                .roster
                .admit(&Shown { token, digest, key, peer, http }, now)
                .map(|(node, replaces)| Answer::Admitted { node, replaces }),
        }
    }

    fn create(
        &mut self,
        new: &NewSession,
        on_outage: OnOutage,
        changes: &mut Vec<Change>,
    ) -> Result<Answer, Reject> {
        let existing = self.settled(new.id, changes).ok();
        if let Some(rule) = new.broken_rule() {
            return Err(Reject::BrokenRule { session: new.id, rule: rule.to_owned() });
        }
        let created = new.at(on_outage, self.now);
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
        #[cfg(feature = "planted-bugs")]
        let due = due.filter(|due| *due < self.now || !Plant::ExpiredWinsAtTheMillisecond.is_on());
        let mut session = Arc::clone(session);
        if due.is_some_and(|due| due <= self.now) {
            session = session.settle(self.now, changes);
            self.put(Arc::clone(&session));
        }
        Ok(session)
    }

    fn tick(&mut self, sessions_max: u32, changes: &mut Vec<Change>) -> Answer {
        let (mut sessions, now) = (0, self.now);
        #[cfg(feature = "planted-bugs")]
        let now = if Plant::EarlyExpiry.is_on() { now.after(Millis::new(40)) } else { now };
        // Counted from here, so that a batch does what its commands do one by one.
        let mut settled = Vec::new();
        while sessions < sessions_max && settled.len() < limits::TICK_CHANGES_MAX {
            let Some(&(due, id)) = self.deadlines.first() else { break };
            let Some(session) = self.sessions.get(&id).filter(|_| due <= now) else { break };
            let session = Arc::clone(session);
            self.put(session.settle_some(now, limits::TICK_CHANGES_MAX, &mut settled));
            sessions += 1;
        }
        changes.append(&mut settled);
        let more = self.next_deadline().is_some_and(|due| due <= now);
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
        if session.is_freezable() {
            self.freezable.insert(session.id);
        }
        self.sessions.insert(session.id, session);
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        if let Some(due) = session.next_due() {
            self.deadlines.remove(&(due, id));
        }
        self.idle.remove(&(session.updated_at, id));
        self.freezable.remove(&id);
        true
    }
}
