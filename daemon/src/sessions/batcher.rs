//! Everything that reached the leader while the last batch was under way becomes the next one.
//!
//! One lock covers stamp and place in the queue, so stamps never decrease along the log and a tick
//! cannot overtake a switch. A command is stamped when it arrives: nobody is charged for our
//! queue. A batch leaves at once when nothing is under way.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use openraft::errors::{ClientWriteError, RaftError};
use synckairos_protocol::{
    command::{Command, CommandBatch, Intent, Stamped},
    event::Answer,
    limits,
    time::Stamp,
};
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::{machine::Machine, plant::Plant};
use synckairos_raft_store::{
    Applied,
    raft_types::{BatchAnswer, TypeConfig},
};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{outages::InTouch, refusal::Refusal};
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{
    raft::{Raft, clock::ClusterClock},
    telemetry::metrics::Metrics,
};

/// Commands that may wait. Beyond it the caller is told to come back later.
const QUEUE_MAX: usize = 16_384;

type Reply = oneshot::Sender<Result<Answer, Refusal>>;

struct Waiting {
    command: Stamped,
    /// Absent where nobody waits for the answer and the command is proposed all the same.
    reply: Option<Reply>,
}

#[derive(Default)]
struct Queue {
    leads: bool,
    closed: bool,
    waiting: Vec<Waiting>,
    last_stamp: Stamp,
    /// The format level that what was opened with brings; 0 where it brings none. Until it is
    /// there, what it allows would be refused, and keys would be ignored.
    level_min: u16,
}

impl Queue {
    /// Does it take commands at all?
    fn takes_any(&self) -> Result<(), Refusal> {
        if self.closed {
            Err(Refusal::ShuttingDown)
        } else if !self.leads {
            Err(Refusal::NoLeader)
        } else if QUEUE_MAX <= self.waiting.len() {
            Err(Refusal::Overloaded)
        } else {
            Ok(())
        }
    }

    /// Does it take what callers want, at this level? A leader that does not yet is none to them.
    fn takes_intents(&self, level: u16) -> Result<(), Refusal> {
        self.takes_any()?;
        if level < self.level_min { Err(Refusal::NoLeader) } else { Ok(()) }
    }
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Notify,
    /// Set when [`run`] has ended.
    done: CancellationToken,
    applied: Applied,
    clock: ClusterClock,
    in_touch: Arc<InTouch>,
    metrics: Metrics,
}

#[derive(Clone)]
pub(crate) struct Batcher {
    shared: Arc<Shared>,
}

impl Batcher {
    pub(super) fn new(
        applied: Applied,
        clock: ClusterClock,
        in_touch: Arc<InTouch>,
        metrics: Metrics,
    ) -> Self {
        let queue = Mutex::new(Queue::default());
        let (arrived, done) = (Notify::new(), CancellationToken::new());
        let shared = Shared { queue, arrived, done, applied, clock, in_touch, metrics };
        Self { shared: Arc::new(shared) }
    }

    /// Stamps a caller's intent and queues it. The answer comes when it is committed and applied.
    pub(crate) fn push(
        &self,
        intent: Intent,
    ) -> Result<oneshot::Receiver<Result<Answer, Refusal>>, Refusal> {
        #[cfg(feature = "planted-bugs")]
        let intent = planted::known_here_only(intent);
        let level = self.shared.applied.level();
        let seen = |id| self.shared.applied.session(id).map_or(0, |session| session.version);
        let command = intent.at_level(level).map(|intent| intent.into_command(&seen));
        let mut queue = self.lock();
        // First, since a caller that should ask another leader, or later, need not know the rest.
        queue.takes_intents(level)?;
        self.enqueue_and_tell(&mut queue, command?)
    }

    /// Stamps and queues a command of the leader's own.
    pub(crate) fn push_command(
        &self,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Answer, Refusal>>, Refusal> {
        self.enqueue_and_tell(&mut self.lock(), command)
    }

    fn enqueue_and_tell(
        &self,
        queue: &mut Queue,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Answer, Refusal>>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(queue, command, Some(reply))?;
        self.shared.arrived.notify_one();
        Ok(answer)
    }

    fn enqueue(
        &self,
        queue: &mut Queue,
        command: Command,
        reply: Option<Reply>,
    ) -> Result<(), Refusal> {
        queue.takes_any()?;
        let now = self.shared.clock.leading().ok_or(Refusal::NoLeader)?;
        let stamp = now.max(queue.last_stamp);
        // Another node may lead by now, and what this one has to say first is not said.
        if reply.is_some() && self.shared.in_touch.is_lost(stamp) {
            return Err(Refusal::NoLeader);
        }
        queue.last_stamp = stamp;
        queue.waiting.push(Waiting { command: Stamped { stamp, command }, reply });
        Ok(())
    }

    /// Commands are taken from now on; those in `first` come before all of them, and where they
    /// raise the format level, callers wait for it.
    pub(super) fn open(&self, first: impl IntoIterator<Item = Command>) {
        {
            let mut queue = self.lock();
            queue.leads = true;
            queue.level_min = 0;
            for command in first {
                if let Command::SetLevel { level } = command {
                    queue.level_min = level;
                }
                // Refused where the node is stopping: its successor looks for itself.
                let _ = self.enqueue(&mut queue, command, None);
            }
        }
        self.shared.arrived.notify_one();
    }

    /// This node does not lead any more: whoever waits was not proposed, and is told so.
    pub(super) fn refuse_all(&self, refusal: &Refusal) {
        let waiting = {
            let mut queue = self.lock();
            queue.leads = false;
            mem::take(&mut queue.waiting)
        };
        for reply in waiting.into_iter().filter_map(|one| one.reply) {
            // A caller that went away needs no answer.
            let _ = reply.send(Err(refusal.clone()));
        }
    }

    /// Takes no more commands; those that wait are still proposed.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.shared.arrived.notify_one();
    }

    /// Waits until everything that was taken has been answered, once closed.
    pub(crate) async fn idle(&self) {
        self.shared.done.cancelled().await;
    }

    /// Does this node lead, and take what callers want?
    pub(crate) fn leads(&self) -> bool {
        let level = self.shared.applied.level();
        let queue = self.lock();
        queue.leads && queue.level_min <= level
    }

    pub(crate) fn queued(&self) -> usize {
        self.lock().waiting.len()
    }

    /// The next batch, cut at the bounds of a log entry; who has given up is left out.
    fn take(&self) -> (CommandBatch, Vec<Option<Reply>>) {
        let mut queue = self.lock();
        queue.waiting.retain(|one| one.reply.as_ref().is_none_or(|reply| !reply.is_closed()));
        let mut bytes = 0;
        let count = queue
            .waiting
            .iter()
            .take(limits::BATCH_COMMANDS_MAX)
            .take_while(|one| {
                bytes += size_estimate(&one.command.command);
                bytes <= limits::ENTRY_BYTES_MAX
            })
            .count();
        let (commands, replies) =
            queue.waiting.drain(..count).map(|one| (one.command, one.reply)).unzip();
        (CommandBatch { commands }, replies)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proposes batch after batch, one under way at a time, until closed and empty, or until `stopping`
/// is cancelled.
pub(super) async fn run(batcher: Batcher, raft: Raft, stopping: CancellationToken) {
    loop {
        let (batch, replies) = batcher.take();
        if batch.commands.is_empty() {
            if batcher.lock().closed {
                batcher.shared.done.cancel();
                return;
            }
            batcher.shared.arrived.notified().await;
            continue;
        }
        #[cfg(feature = "planted-bugs")]
        if Plant::AckBeforeCommit.is_on() {
            propose_hastily(&batcher, &raft, (batch, replies)).await;
            continue;
        }
        let began = Instant::now();
        let written = tokio::select! {
            biased;
            written = raft.client_write(batch) => written,
            // The engine ends next, and would say that it broke a promise.
            () = stopping.cancelled() => return refuse(replies, &Refusal::LeadershipLost),
        };
        match written {
            Ok(response) => {
                batcher.shared.metrics.observe_commit(began.elapsed());
                answer_all(response.data, replies);
            }
            Err(error) => refuse(replies, &refusal_of(&error)),
        }
    }
}

fn answer_all(answers: BatchAnswer, replies: Vec<Option<Reply>>) {
    for (reply, answer) in replies.into_iter().zip(answers.answers) {
        if let Some(reply) = reply {
            // A caller that went away needs no answer.
            let _ = reply.send(answer.map_err(Refusal::Rejected));
        }
    }
}

fn refuse(replies: Vec<Option<Reply>>, refusal: &Refusal) {
    for reply in replies.into_iter().flatten() {
        // A caller that went away needs no answer.
        let _ = reply.send(Err(refusal.clone()));
    }
}

/// Proposes a batch, and answers it from what it will probably do where a majority takes too long.
#[cfg(feature = "planted-bugs")]
async fn propose_hastily(
    batcher: &Batcher,
    raft: &Raft,
    (batch, replies): (CommandBatch, Vec<Option<Reply>>),
) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(10);
    let answers = batcher.shared.applied.read(Machine::clone).apply(&batch).answers;
    let mut write = std::pin::pin!(raft.client_write(batch));
    match tokio::time::timeout(PATIENCE, &mut write).await {
        Ok(Ok(response)) => answer_all(response.data, replies),
        Ok(Err(error)) => refuse(replies, &refusal_of(&error)),
        Err(_) => {
            answer_all(BatchAnswer { revision: 0, answers }, replies);
            let _ = write.await;
        }
    }
}

fn refusal_of(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Refusal {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Refusal::NoLeader,
        RaftError::APIError(
            ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_),
        )
        | RaftError::Fatal(_) => Refusal::LeadershipLost,
    }
}

/// About how many bytes a command takes in the log.
fn size_estimate(command: &Command) -> usize {
    const SMALL: usize = 96;
    const PARTICIPANT: usize = 64;
    match command {
        Command::Create(new) | Command::CreateWith { new, .. } => {
            let rows = new.participants.len() + new.groups.len();
            SMALL + rows * PARTICIPANT + new.metadata.as_ref().map_or(0, String::len)
        }
        Command::Atomic { commands } => SMALL + commands.iter().map(size_estimate).sum::<usize>(),
        Command::Once { key, command } => SMALL + key.key.len() + size_estimate(command),
        Command::AdmitNode { peer, http, .. } => 2 * SMALL + peer.len() + http.len(),
        Command::Start { .. }
        | Command::Switch { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Complete { .. }
        | Command::Delete { .. }
        | Command::Tick { .. }
        | Command::Sweep { .. }
        | Command::Outage { .. }
        | Command::Beat
        | Command::SetLevel { .. } => SMALL,
        Command::CreateToken { .. } => 2 * SMALL,
    }
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::{command::RequestKey, ids::SessionId, reject::Reject};

    use super::*;

    #[test]
    fn callers_wait_for_the_level_that_a_new_cluster_begins_at() {
        let queue =
            |leads, closed, level_min| Queue { leads, closed, level_min, ..Queue::default() };
        let table = [
            (queue(true, false, 2), 1, Some(Refusal::NoLeader)),
            (queue(true, false, 2), 2, None),
            (queue(true, false, 0), 1, None),
            (queue(false, false, 0), 2, Some(Refusal::NoLeader)),
            (queue(true, true, 2), 1, Some(Refusal::ShuttingDown)),
        ];
        for (number, (queue, level, refusal)) in table.into_iter().enumerate() {
            assert_eq!(queue.takes_intents(level).err(), refusal, "case {number}");
        }
        assert_eq!(queue(true, false, 2).takes_any(), Ok(()), "what raises it is taken");
    }

    fn keyed(intent: Intent) -> Intent {
        let key = RequestKey { key: String::from("k"), digest: [7; 32] };
        Intent::Once { key, intent: Box::new(intent) }
    }

    #[test]
    fn below_level_two_keys_are_ignored_and_what_cannot_be_is_refused() {
        let pause = Intent::Pause { session: SessionId::from_bits(1), expected_version: None };
        let batch = Intent::Atomic { intents: vec![pause.clone()] };
        let too_low = Err(Reject::LevelTooLow { needed: 2, level: 1 });
        let table = [
            (pause.clone(), 1, Ok(pause.clone())),
            (keyed(pause.clone()), 1, Ok(pause.clone())),
            (keyed(pause.clone()), 2, Ok(keyed(pause))),
            (batch.clone(), 1, too_low.clone()),
            (keyed(batch.clone()), 1, too_low),
            (batch.clone(), 2, Ok(batch)),
        ];
        for (intent, level, expected) in table {
            assert_eq!(intent.clone().at_level(level), expected, "{intent:?} at {level}");
        }
    }
}
