//! Linearizable reads by read index: a majority confirms who leads, once for everybody who was
//! waiting; then the reader's own node answers when it has applied that far.

use openraft::ReadPolicy;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{Leader, Sessions, refusal::ReadIndex, refusal::Refusal};
use crate::raft::{
    Raft,
    clock::ClusterClock,
    messages::{AppReply, AppRequest},
};

/// Reads that may wait for a confirmation. Beyond it the caller is told to come back later.
const WAITING_MAX: usize = 16_384;

/// One confirmation is given up after this long, and the next one tried.
const ROUND_MAX: Duration = Duration::from_millis(500);

struct Waiting {
    deadline: Instant,
    reply: oneshot::Sender<Result<ReadIndex, Refusal>>,
}

pub(super) struct ReadGate {
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<mpsc::Receiver<Waiting>>,
}

impl ReadGate {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self { sender, receiver: Mutex::new(receiver) }
    }

    /// Up to where the log must be applied for a read that begins now.
    pub(super) async fn confirm(&self, deadline: Instant) -> Result<ReadIndex, Refusal> {
        let (reply, confirmed) = oneshot::channel();
        self.sender.try_send(Waiting { deadline, reply }).map_err(|_| Refusal::Overloaded)?;
        match timeout_at(deadline, confirmed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Refusal::ShuttingDown),
            Err(_) => Err(Refusal::NoLeader),
        }
    }
}

/// Confirms round after round; a read that arrives during a round waits for the next.
pub(super) async fn run(sessions: Sessions) {
    let shared = &sessions.shared;
    let mut receiver = shared.reads.receiver.lock().await;
    let mut round = Vec::new();
    loop {
        tokio::select! {
            taken = receiver.recv_many(&mut round, WAITING_MAX) => if taken == 0 { return },
            () = shared.stopping.cancelled() => return,
        }
        let result = confirm_once(&sessions).await;
        let now = Instant::now();
        for waiting in round.drain(..) {
            let again = result == Err(Refusal::NoLeader) && now < waiting.deadline;
            if again && !waiting.reply.is_closed() {
                // Reads change nothing, so they wait for a leader until their time is up.
                let _ = shared.reads.sender.try_send(waiting);
            } else {
                let _ = waiting.reply.send(result.clone());
            }
        }
        if result == Err(Refusal::NoLeader)
            && is_over(&sessions.await_leader(Instant::now() + ROUND_MAX).await)
        {
            return;
        }
    }
}

/// After a wait for a leader: are reads confirmed no more? Not where it took so long that no time was
/// left to wait, as on a busy machine: who stopped then would answer no read for as long as the node
/// runs.
const fn is_over(waited: &Result<(), Refusal>) -> bool {
    matches!(waited, Err(Refusal::NodeRemoved | Refusal::ShuttingDown))
}

async fn confirm_once(sessions: &Sessions) -> Result<ReadIndex, Refusal> {
    match sessions.leader() {
        Leader::This => sessions.read_index_here().await,
        Leader::Other(node, address) => {
            let deadline = Instant::now() + ROUND_MAX;
            match sessions.ask(node, &address, AppRequest::ReadIndex, deadline).await {
                Ok(AppReply::ReadIndex(result)) => result,
                // A read that timed out has no effect and may be tried again.
                Ok(
                    AppReply::Propose(_)
                    | AppReply::Answered(_)
                    | AppReply::Report(_)
                    | AppReply::Operated(_)
                    | AppReply::Standing(_)
                    | AppReply::LetIn(_),
                )
                | Err(_) => Err(Refusal::NoLeader),
            }
        }
        Leader::Unknown => Err(Refusal::NoLeader),
    }
}

/// Asks a majority whether this node still leads.
pub(super) async fn read_index(raft: &Raft, clock: &ClusterClock) -> Result<ReadIndex, Refusal> {
    let confirmation = raft.get_read_linearizer(ReadPolicy::ReadIndex);
    let linearizer = timeout(ROUND_MAX, confirmation)
        .await
        .map_err(|_| Refusal::NoLeader)?
        .map_err(|_| Refusal::NoLeader)?;
    let now = clock.leading().ok_or(Refusal::NoLeader)?;
    Ok(ReadIndex { index: linearizer.read_log_id().index(), now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_that_ends_confirms_no_more_reads() {
        for waited in [Ok(()), Err(Refusal::NoLeader), Err(Refusal::TimedOut)] {
            assert!(!is_over(&waited), "{waited:?}");
        }
        for waited in [Err(Refusal::NodeRemoved), Err(Refusal::ShuttingDown)] {
            assert!(is_over(&waited), "{waited:?}");
        }
    }
}
