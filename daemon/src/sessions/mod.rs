//! Sessions as the rest of a node sees them: propose a change, read a state. Any node answers;
//! where it does not lead, it asks the leader over the peer connection.

pub(crate) mod batcher;
mod leadership;
pub(crate) mod listing;
mod outages;
mod past;
mod reads;
pub(crate) mod refusal;
pub(crate) mod settings;
mod ticks;
mod touch;

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::WatchReceiver;
#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use synckairos_protocol::{
    command::{Command, Intent},
    event::Answer,
    ids::SessionId,
    reject::Reject,
    session::Session,
    time::Stamp,
};
use synckairos_raft_store::{Applied, LogStore, raft_types::PeerNode};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{
    disk::{Disk, Room},
    raft::{
        Raft,
        clock::ClusterClock,
        messages::{AppReply, AppRequest},
        peers::{CallError, Peers},
        vitals::role_name,
    },
    telemetry::metrics::Metrics,
};
use batcher::Batcher;
use outages::InTouch;
use reads::ReadGate;
use refusal::{ReadIndex, Refusal};
use settings::SessionSettings;
use touch::Touch;

/// How often a request looks again whether there is a leader, should a change go unnoticed.
const LEADER_RECHECK: Duration = Duration::from_millis(20);
/// How long a node may take to answer that does not lead any more.
const LAST_WORD: Duration = Duration::from_millis(250);
/// How long a request waits for a leader whose disk has room.
const GIVES_WAY_WITHIN: Duration = Duration::from_secs(1);

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct NodeStatus {
    pub(crate) node_id: u64,
    /// `leader`, `follower`, `candidate` or `learner`.
    pub(crate) role: &'static str,
    pub(crate) term: u64,
    pub(crate) leader_id: Option<u64>,
    pub(crate) leader_http: Option<String>,
    pub(crate) last_log: u64,
    pub(crate) applied: u64,
}

/// What [`Sessions`] is made of.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) applied: Applied,
    pub(crate) log: LogStore,
    pub(crate) clock: ClusterClock,
    pub(crate) peers: Peers,
    pub(crate) disk: Disk,
    pub(crate) metrics: Metrics,
    pub(crate) settings: SessionSettings,
    pub(crate) stopping: CancellationToken,
}

#[derive(Clone)]
pub(crate) struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    raft: Raft,
    applied: Applied,
    clock: ClusterClock,
    peers: Peers,
    disk: Disk,
    batcher: Batcher,
    reads: ReadGate,
    in_touch: Arc<InTouch>,
    metrics: Metrics,
    settings: SessionSettings,
    touch: Touch,
    stopping: CancellationToken,
}

/// Who leads, as far as this node knows.
pub(crate) enum Leader {
    This,
    Other(u64, PeerNode),
    Unknown,
}

impl Sessions {
    /// The handle; its tasks are spawned on `tasks` and end when `parts.stopping` is cancelled.
    pub(crate) fn start(parts: Parts, tasks: &mut JoinSet<()>) -> Self {
        let (metrics, silence_max) = (parts.metrics, trusted_silence(&parts.raft));
        let in_touch = Arc::new(InTouch::new(silence_max));
        let (applied, clock) = (parts.applied.clone(), parts.clock.clone());
        let batcher = Batcher::new(applied, clock, Arc::clone(&in_touch), metrics.clone());
        let reads = ReadGate::new();
        let touch = Touch::new(&parts.raft);
        let shared = Arc::new(Shared {
            raft: parts.raft,
            applied: parts.applied,
            clock: parts.clock,
            peers: parts.peers,
            disk: parts.disk,
            batcher,
            reads,
            in_touch,
            metrics,
            settings: parts.settings,
            touch,
            stopping: parts.stopping,
        });
        let sessions = Self { shared: Arc::clone(&shared) };
        let (batcher, raft) = (shared.batcher.clone(), shared.raft.clone());
        tasks.spawn(batcher::run(batcher, raft, shared.stopping.clone()));
        tasks.spawn(leadership::run(sessions.clone(), parts.log));
        tasks.spawn(ticks::run(sessions.clone()));
        tasks.spawn(reads::run(sessions.clone()));
        tasks.spawn(touch::run(sessions.clone()));
        sessions
    }

    /// Commits `intent` on a majority and tells what came of it.
    ///
    /// # Errors
    /// [`Refusal`] says whether it may have taken effect.
    pub(crate) async fn propose(
        &self,
        intent: Intent,
        request_id: &str,
    ) -> Result<Answer, Refusal> {
        let began = Instant::now();
        let deadline = began + self.shared.settings.request_timeout();
        loop {
            let result = match self.leader() {
                Leader::This => self.propose_until(intent.clone(), deadline).await,
                Leader::Other(node, address) => {
                    let request = AppRequest::Propose {
                        intent: intent.clone(),
                        request_id: request_id.to_owned(),
                    };
                    match self.ask(node, &address, request, deadline).await {
                        Ok(AppReply::Answered(result)) => result,
                        Ok(AppReply::Propose(result)) => result.map(|answer| (*answer).into()),
                        Ok(
                            AppReply::ReadIndex(_)
                            | AppReply::Report(_)
                            | AppReply::Operated(_)
                            | AppReply::Standing(_)
                            | AppReply::LetIn(_),
                        ) => Err(Refusal::LeadershipLost),
                        Err(refusal) => Err(refusal),
                    }
                }
                Leader::Unknown => Err(Refusal::NoLeader),
            };
            #[cfg(feature = "planted-bugs")]
            let result = planted::of_lost_leader(result, deadline);
            match result {
                // Nothing was proposed, so asking again cannot do it twice.
                Err(Refusal::NoLeader) => self.await_leader(deadline).await?,
                // A leader without room gives way, if there is anybody to give way to.
                Err(Refusal::Storage) if began.elapsed() < GIVES_WAY_WITHIN => {
                    self.await_leader(deadline).await?;
                }
                settled => return settled,
            }
        }
    }

    /// As [`Sessions::propose`], for a peer that takes this node for the leader.
    pub(crate) async fn propose_here(&self, intent: Intent) -> Result<Answer, Refusal> {
        let deadline = Instant::now() + self.shared.settings.request_timeout();
        self.propose_until(intent, deadline).await
    }

    /// The session as of some moment between call and return.
    ///
    /// # Errors
    /// [`Refusal::NoLeader`] where no majority confirms in time that this is the latest state.
    pub(crate) async fn read(&self, id: SessionId) -> Result<Option<Arc<Session>>, Refusal> {
        self.catch_up().await?;
        Ok(self.shared.applied.session(id))
    }

    /// Waits until this node has applied everything that was acknowledged before the call.
    ///
    /// # Errors
    /// [`Refusal::NoLeader`] where no majority confirms in time how far that is.
    pub(crate) async fn catch_up(&self) -> Result<(), Refusal> {
        #[cfg(feature = "planted-bugs")]
        if Plant::FollowerReadsLocal.is_on() && matches!(self.leader(), Leader::Other(..)) {
            return Ok(());
        }
        let deadline = Instant::now() + self.shared.settings.request_timeout();
        let read = self.shared.reads.confirm(deadline).await?;
        let behind = self.shared.applied.applied_index().is_none_or(|at| at < read.index);
        if behind && self.shared.disk.room() == Room::Exhausted {
            // It takes no entries, so it will not get there.
            return Err(Refusal::Storage);
        }
        timeout_at(deadline, self.shared.applied.wait_applied(read.index))
            .await
            .map_err(|_| Refusal::NoLeader)
    }

    /// Up to where the log must be applied for a read that begins now; as the leader only.
    pub(crate) async fn read_index_here(&self) -> Result<ReadIndex, Refusal> {
        #[cfg(feature = "planted-bugs")]
        if let Some(now) = self.now().filter(|_| Plant::StaleLeaderReads.is_on()) {
            let index = self.shared.applied.applied_index().unwrap_or(0);
            return Ok(ReadIndex { index, now });
        }
        reads::read_index(&self.shared.raft, &self.shared.clock).await
    }

    pub(crate) fn session_count(&self) -> usize {
        self.shared.applied.session_count()
    }

    /// Commands that wait for the batch under way.
    pub(crate) fn queued(&self) -> usize {
        self.shared.batcher.queued()
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let metrics = self.shared.raft.metrics().borrow_watched().clone();
        // A leader that is out of touch may have a successor by now.
        let leader_id = metrics.current_leader.filter(|_| self.out_of_touch().is_none());
        let leader = leader_id.and_then(|id| {
            metrics.membership_config.membership().get_node(&id).map(|node| node.http.clone())
        });
        NodeStatus {
            node_id: metrics.id,
            role: role_name(metrics.state),
            term: metrics.current_term,
            leader_id,
            leader_http: leader,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |log_id| log_id.index),
        }
    }

    /// Takes no more proposals, and waits until those under way are answered.
    pub(crate) async fn close(&self) {
        self.shared.batcher.close();
        self.shared.batcher.idle().await;
    }

    /// Can this node answer requests, as far as it knows?
    ///
    /// # Errors
    /// What is missing, in words.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.shared.stopping.is_cancelled() {
            return Err(String::from("this node is stopping"));
        }
        let complaint = self.shared.disk.complaint();
        if let Some(complaint) = complaint
            && (self.shared.disk.room() == Room::Exhausted || matches!(self.leader(), Leader::This))
        {
            return Err(complaint);
        }
        if let Some(span) = self.out_of_touch() {
            return Err(format!("out of touch with the cluster for {} ms", span.as_millis()));
        }
        match self.leader() {
            Leader::This if self.shared.batcher.leads() => Ok(()),
            Leader::This => Err(String::from("this node was elected and is catching up")),
            Leader::Other(..) => Ok(()),
            Leader::Unknown => Err(String::from("no leader is known")),
        }
    }

    async fn propose_until(&self, intent: Intent, deadline: Instant) -> Result<Answer, Refusal> {
        if self.shared.stopping.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        if self.shared.disk.room() != Room::Enough && matches!(self.leader(), Leader::This) {
            return Err(Refusal::Storage);
        }
        let answer = self.shared.batcher.push(intent)?;
        self.await_answer(answer, deadline).await
    }

    /// Commits a command that no client can ask for; as the leader only.
    ///
    /// # Errors
    /// [`Refusal`] says whether it may have taken effect.
    pub(crate) async fn command_here(&self, command: Command) -> Result<Answer, Refusal> {
        let deadline = Instant::now() + self.shared.settings.request_timeout();
        if self.shared.disk.room() != Room::Enough {
            return Err(Refusal::Storage);
        }
        let (needed, level) = (command.level(), self.shared.applied.level());
        // Nodes of an earlier release could not read it.
        if level < needed && !matches!(command, Command::SetLevel { .. }) {
            return Err(Reject::LevelTooLow { needed, level }.into());
        }
        let answer = self.shared.batcher.push_command(command)?;
        self.await_answer(answer, deadline).await
    }

    /// Does this node lead, and take commands?
    pub(crate) fn leads(&self) -> bool {
        self.shared.batcher.leads()
    }

    async fn await_answer(
        &self,
        answer: oneshot::Receiver<Result<Answer, Refusal>>,
        deadline: Instant,
    ) -> Result<Answer, Refusal> {
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            // The batcher ended with the command in its hands.
            Ok(Err(_)) => Err(Refusal::LeadershipLost),
            Err(_) => Err(Refusal::TimedOut),
        }
    }

    /// Asks the leader, for as long as this node takes it for the leader.
    ///
    /// # Errors
    /// [`Refusal`] says whether the request may have had an effect.
    pub(crate) async fn ask(
        &self,
        node: u64,
        address: &PeerNode,
        request: AppRequest,
        deadline: Instant,
    ) -> Result<AppReply, Refusal> {
        // What is sent to a leader that has died is lost, and nobody can say so before its successor
        // is there: it is better kept until then.
        let patience = Duration::from_millis(self.shared.raft.config().election_timeout_min);
        if patience < self.shared.clock.silence() {
            return Err(Refusal::NoLeader);
        }
        let asked = Instant::now();
        let left = deadline.saturating_duration_since(asked);
        let call = self.shared.peers.call(node, address, request, left);
        tokio::pin!(call);
        let reply = tokio::select! {
            reply = &mut call => reply,
            // A dead leader does not answer, and its successor does not know of the request; one
            // that handed over still does.
            () = self.leader_moved(node) => {
                let last_word = timeout_at(asked + LAST_WORD, call).await;
                last_word.map_err(|_| Refusal::LeadershipLost)?
            }
        };
        reply.map_err(|error| match error {
            CallError::NotSent(_) => Refusal::NoLeader,
            CallError::Unknown(_) => Refusal::TimedOut,
        })
    }

    /// Waits until this node takes somebody else than `node`, or nobody, for the leader.
    async fn leader_moved(&self, node: u64) {
        let mut metrics = self.shared.raft.server_metrics();
        while metrics.borrow_watched().current_leader == Some(node) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until who leads may have changed, or fails at the deadline.
    pub(crate) async fn await_leader(&self, deadline: Instant) -> Result<(), Refusal> {
        if self.shared.peers.removed().is_noted() {
            return Err(Refusal::NodeRemoved);
        }
        if deadline <= Instant::now() {
            return Err(Refusal::NoLeader);
        }
        if self.shared.stopping.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        let mut metrics = self.shared.raft.server_metrics();
        let recheck = (Instant::now() + LEADER_RECHECK).min(deadline);
        // Either way the caller looks again.
        let _ = timeout_at(recheck, metrics.changed()).await;
        Ok(())
    }

    /// How long ago this node last had the word of its leader, or as the leader that of a majority,
    /// where that is too long ago to count on it.
    fn out_of_touch(&self) -> Option<Duration> {
        let span = match self.leader() {
            Leader::This => self.quorum_heard(),
            Leader::Other(..) => Some(self.shared.clock.silence()),
            Leader::Unknown => None,
        };
        span.filter(|span| trusted_silence(&self.shared.raft) < *span)
    }

    pub(crate) fn leader(&self) -> Leader {
        let receiver = self.shared.raft.server_metrics();
        let metrics = receiver.borrow_watched();
        let Some(id) = metrics.current_leader else { return Leader::Unknown };
        if id == metrics.id {
            return Leader::This;
        }
        match metrics.membership_config.membership().get_node(&id) {
            Some(address) => Leader::Other(id, address.clone()),
            None => Leader::Unknown,
        }
    }

    /// Cluster time, while this node leads.
    pub(crate) fn now(&self) -> Option<Stamp> {
        self.shared.clock.leading()
    }
}

/// How long a silence may be before nobody counts on whoever is silent.
fn trusted_silence(raft: &Raft) -> Duration {
    Duration::from_millis(raft.config().election_timeout_max.saturating_mul(2))
}
