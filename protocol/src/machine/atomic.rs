//! Several commands as one, and one request as one however often it is sent.

use std::{collections::BTreeSet, sync::Arc};

use super::Machine;
#[cfg(feature = "planted-bugs")]
use crate::plant::Plant;
use crate::{
    command::{Command, Expected, RequestKey},
    event::{Answer, Change},
    ids::SessionId,
    limits,
    reject::Reject,
    session::Session,
};

impl Machine {
    /// All of `commands` in their order, or none of them. What fell due by now takes effect in
    /// both cases. A version that the leader saw for its caller holds for a session's first
    /// command; the later ones follow on it.
    pub(super) fn atomic(
        &mut self,
        commands: &[Command],
        changes: &mut Vec<Change>,
    ) -> Result<Answer, Reject> {
        if commands.is_empty() || limits::ATOMIC_COMMANDS_MAX < commands.len() {
            let rule = String::from("a batch has 1 to 100 commands");
            return Err(Reject::Malformed { rule });
        }
        let mut before: Vec<(SessionId, Option<Arc<Session>>)> = Vec::new();
        for command in commands {
            let Some(session) = command.session() else {
                let rule = String::from("a batch holds commands of sessions only");
                return Err(Reject::Malformed { rule });
            };
            let settled = self.settled(session, changes).ok();
            before.push((session, settled));
        }
        let unchanged = changes.len();
        let mut touched = BTreeSet::new();
        let mut answers = Vec::with_capacity(commands.len());
        for (index, command) in (0..).zip(commands) {
            let command = self.following(command, &touched);
            match self.execute(&command, changes) {
                Ok(answer) => answers.push(answer),
                #[cfg(feature = "planted-bugs")]
                Err(reject) if Plant::BatchHalfApplied.is_on() => {
                    return Err(Reject::InBatch { index, reject: Box::new(reject) });
                }
                Err(reject) => {
                    changes.truncate(unchanged);
                    self.put_back(before);
                    return Err(Reject::InBatch { index, reject: Box::new(reject) });
                }
            }
            touched.extend(command.session());
        }
        Ok(Answer::Batch(answers))
    }

    /// The command, where an earlier one of its batch changed the session that its leader saw.
    fn following(&self, command: &Command, touched: &BTreeSet<SessionId>) -> Command {
        let mut command = command.clone();
        let session = command.session().filter(|id| touched.contains(id));
        let version = session.and_then(|id| self.session(id)).map(|session| session.version);
        if let (Some(version), Some(expected)) = (version, command.expected_mut())
            && matches!(expected, Expected::Seen(_))
        {
            *expected = Expected::Seen(version);
        }
        command
    }

    fn put_back(&mut self, before: Vec<(SessionId, Option<Arc<Session>>)>) {
        for (id, session) in before {
            match session {
                Some(session) => self.put(session),
                None => {
                    self.remove(id);
                }
            }
        }
    }

    /// The command, unless its request was answered before: then that answer.
    pub(super) fn once(
        &mut self,
        key: &RequestKey,
        command: &Command,
        changes: &mut Vec<Change>,
    ) -> Result<Answer, Reject> {
        let bytes = key.key.len();
        if bytes == 0 || limits::REQUEST_KEY_BYTES_MAX < bytes {
            let rule = String::from("an idempotency key has 1 to 255 bytes");
            return Err(Reject::Malformed { rule });
        }
        if command.session().is_none() && !matches!(command, Command::Atomic { .. }) {
            let rule = String::from("an idempotency key is for commands of sessions");
            return Err(Reject::Malformed { rule });
        }
        if let Some(answer) = self.answered.answer(key) {
            #[cfg(feature = "planted-bugs")]
            let answer = self.answered_anew(answer);
            return answer;
        }
        let answer = self.execute(command, changes);
        self.answered.remember(key.clone(), self.now, &answer);
        answer
    }

    #[cfg(feature = "planted-bugs")]
    fn answered_anew(&self, first: Result<Answer, Reject>) -> Result<Answer, Reject> {
        let Ok(Answer::Session(then) | Answer::Switched { session: then, .. }) = &first else {
            return first;
        };
        let present = self.session(then.id).filter(|_| Plant::RetryAnsweredAnew.is_on());
        let Some(session) = present.map(Arc::clone) else { return first };
        Ok(match first? {
            Answer::Switched { expired, .. } => Answer::Switched { session, expired },
            Answer::Session(_)
            | Answer::Deleted
            | Answer::Swept { .. }
            | Answer::Batch(_)
            | Answer::Done
            | Answer::Admitted { .. } => Answer::Session(session),
        })
    }
}
