//! What openraft sees of the peers: a client for each target and purpose.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, future, future::BoxFuture, stream, stream::BoxStream};
use openraft::{
    StorageError,
    errors::{ErrorSource, NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{AppendEntriesResponse, SnapshotResponse, StreamAppendError},
};
use synckairos_raft_store::raft_types::{PeerNode, Snapshot, SnapshotFile, TypeConfig, Vote};
use tokio::time::Instant;

use super::{
    acknowledged::Acknowledged,
    append_stream,
    connection::{PeerConnection, Priority},
    endpoint::Close,
    link::{self, Link},
    messages::{
        AppendRequest, AppendResult, AppendV1, OpenV1, RaftReplyV1, RaftRequestV1, TransferRequest,
        TransferResponse, VoteRequest, VoteResponse,
    },
    peers::Peers,
    snapshot_stream::{self, SnapshotError},
    standing::Standing,
};

/// Between attempts at a peer that is down, after the first two.
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);

type RpcError = RPCError<TypeConfig>;

/// Makes openraft's clients.
pub(crate) struct Network {
    peers: Peers,
    standing: Standing,
}

impl Network {
    pub(crate) fn new(peers: Peers, standing: Standing) -> Self {
        Self { peers, standing }
    }

    fn client(&self, target: u64, node: &PeerNode, purpose: Purpose) -> PeerNetwork {
        let (peers, standing) = (self.peers.clone(), self.standing.clone());
        let link = peers.link(target, node);
        PeerNetwork { peers, standing, target, node: node.clone(), link, purpose }
    }
}

/// What a client sends appends for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To bring log entries: on a stream of their own, many at a time.
    Replication,
    /// To be heard in time: as calls, so that no entry on its way to a disk delays them.
    Heartbeat,
}

/// openraft's client for one target.
pub(crate) struct PeerNetwork {
    peers: Peers,
    /// Of this node.
    standing: Standing,
    target: u64,
    node: PeerNode,
    link: Arc<Link>,
    purpose: Purpose,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> PeerNetwork {
        self.client(target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> PeerNetwork {
        self.client(target, node, Purpose::Heartbeat)
    }
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let result = self.append_call(request, &option).await?;
        Ok(match result {
            Ok(matched) if matched != last => AppendEntriesResponse::PartialSuccess(matched),
            matched_or_not => matched_or_not.into(),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        match self.purpose {
            Purpose::Replication => Box::pin(self.append_stream(requests, option)),
            Purpose::Heartbeat => {
                let replies = stream::unfold(Some((self, requests)), move |state| {
                    let option = option.clone();
                    async move {
                        let (network, mut requests) = state?;
                        let request = requests.next().await?;
                        let reply = network.append_call(request, &option).await;
                        let more = matches!(&reply, Ok(Ok(_)));
                        Some((reply, more.then_some((network, requests))))
                    }
                });
                Box::pin(future::ready(Ok(replies.boxed())))
            }
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        self.require_admitted()?;
        let request = RaftRequestV1::Vote((&request).into());
        let RaftReplyV1::Vote(reply) = self.call(request, &option).await? else {
            return Err(self.beside_the_point());
        };
        Ok(reply.into())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        self.require_admitted()?;
        let request = RaftRequestV1::PreVote((&request).into());
        let RaftReplyV1::PreVote(reply) = self.call(request, &option).await? else {
            return Err(self.beside_the_point());
        };
        Ok(reply.into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let connection = self.connected(&option).await?;
        let sending = snapshot_stream::send(&connection, &vote, &snapshot);
        let sent = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = tokio::time::timeout(option.soft_ttl(), sending) => sent,
        };
        match sent {
            Ok(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
            Ok(Err(error @ SnapshotError::Source(_))) => {
                let source = ErrorSource::from_error(&error);
                Err(StorageError::read_snapshot(None, source).into())
            }
            Ok(Err(error)) => Err(Unreachable::new(&error).into()),
            Err(elapsed) => Err(Unreachable::new(&elapsed).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        let request = RaftRequestV1::TransferLeader((&request).into());
        let RaftReplyV1::TransferLeader(reply) = self.call(request, &option).await? else {
            return Err(self.beside_the_point());
        };
        Ok(reply.into())
    }

    /// The link paces its own dialling; this only keeps openraft from asking in a hot loop.
    fn backoff(&self) -> Option<Backoff> {
        let first = std::iter::once(BACKOFF_FIRST);
        Some(Backoff::new(first.chain(std::iter::repeat(BACKOFF))))
    }
}

impl PeerNetwork {
    fn require_admitted(&self) -> Result<(), RpcError> {
        self.standing.require_admitted().map_err(|error| Unreachable::new(&error).into())
    }

    async fn connected(&mut self, option: &RPCOption) -> Result<Arc<PeerConnection>, RpcError> {
        if self.link.is_closed() {
            self.link = self.peers.link(self.target, &self.node);
        }
        let deadline = Instant::now() + option.soft_ttl();
        let connection = self.link.connected(deadline).await;
        connection.map_err(|error: link::Unreachable| Unreachable::new(&error).into())
    }

    async fn call(
        &mut self,
        request: RaftRequestV1<'_>,
        option: &RPCOption,
    ) -> Result<RaftReplyV1, RpcError> {
        let deadline = Instant::now() + option.soft_ttl();
        let connection = self.connected(option).await?;
        let reply = connection.raft.call(request, deadline).await;
        let reply = reply.map_err(|error| RpcError::from(Unreachable::new(&error)))?;
        if let RaftReplyV1::Unavailable(reason) = reply {
            return Err(Unreachable::from_string(reason).into());
        }
        Ok(reply)
    }

    async fn append_call(
        &mut self,
        request: AppendRequest,
        option: &RPCOption,
    ) -> Result<AppendResult, RpcError> {
        let stamp = self.peers.clock().leading();
        let call = RaftRequestV1::Append(AppendV1::new(&request, stamp));
        let RaftReplyV1::Append(reply) = self.call(call, option).await? else {
            return Err(self.beside_the_point());
        };
        let result = AppendResult::from(reply);
        let term = request.vote.leader_id.term;
        if let Some(reason) = judge(self.peers.acknowledged(), (self.target, term), &result) {
            self.connected(option).await?.close(Close::LogLost, &reason);
        }
        // openraft takes for granted that an empty log conflicts with nothing.
        if result.as_ref().is_err_and(is_conflict) && request.prev_log_id.is_none() {
            let reason = format!("node {} says that an empty log conflicts", self.target);
            return Err(NetworkError::from_string(reason).into());
        }
        Ok(result)
    }

    async fn append_stream<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> Result<BoxStream<'s, Result<AppendResult, RpcError>>, RpcError>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let connection = match self.connected(&option).await {
            Ok(connection) => connection,
            Err(error) => {
                // openraft's own pause comes with the next request, which nobody has taken yet:
                // without one here it asks again at once, as fast as it can.
                tokio::time::sleep(BACKOFF_FIRST).await;
                return Err(error);
            }
        };
        let opening = connection.open(&OpenV1::Append, Priority::Append);
        let stream = tokio::time::timeout(option.soft_ttl(), opening).await;
        let stream = stream
            .map_err(|elapsed| RpcError::from(Unreachable::new(&elapsed)))?
            .map_err(|error| RpcError::from(Unreachable::new(&error)))?;
        let clock = self.peers.clock().clone();
        let term = Arc::new(AtomicU64::new(0));
        let led = Arc::clone(&term);
        let requests = requests.inspect(move |request| {
            led.store(request.vote.leader_id.term, Ordering::Relaxed);
        });
        let replies = append_stream::exchange(stream, requests, move || clock.leading());
        let (acknowledged, target) = (self.peers.acknowledged().clone(), self.target);
        Ok(replies
            .map(move |reply| {
                let reply = reply.map_err(|error| RpcError::from(Unreachable::new(&error)))?;
                let term = term.load(Ordering::Relaxed);
                if let Some(reason) = judge(&acknowledged, (target, term), &reply) {
                    connection.close(Close::LogLost, &reason);
                }
                Ok(reply)
            })
            .boxed())
    }

    fn beside_the_point(&self) -> RpcError {
        Unreachable::from_string(format!("node {} answered another question", self.target)).into()
    }
}

/// Takes note of what a peer acknowledges in a leader's term. Where it denies what it had
/// acknowledged, the reason to send it away.
fn judge(
    acknowledged: &Acknowledged,
    (target, term): (u64, u64),
    result: &AppendResult,
) -> Option<String> {
    match result {
        Ok(Some(matched)) => {
            acknowledged.note(target, term, matched);
            None
        }
        Err(StreamAppendError::Conflict(missing)) => {
            let index = acknowledged.lost(target, term, missing)?;
            tracing::error!(
                node = target,
                index,
                "a node has lost log entries that it had acknowledged"
            );
            Some(format!("it had acknowledged the log up to entry {index}"))
        }
        Ok(None) | Err(StreamAppendError::HigherVote(_)) => None,
    }
}

fn is_conflict(error: &StreamAppendError<TypeConfig>) -> bool {
    matches!(error, StreamAppendError::Conflict(_))
}
