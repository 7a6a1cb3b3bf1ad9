//! What peers may ask of this node, and who answers.

use std::sync::Arc;

use quinn::{ConnectionError, RecvStream, SendStream};
use synckairos_protocol::codec::DecodeError;
use synckairos_raft_store::{
    raft_types::{Snapshot, SnapshotMeta},
    wire::VoteV1,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    append_stream::{self, AppendError},
    connection::Priority,
    endpoint::Close,
    frames::{self, FrameError},
    listener::PeerService,
    messages::{
        AppReply, AppRequest, AppendReplyV1, AppendV1, RaftReplyV1, RaftRequestV1, SnapshotHeadV1,
        SnapshotReplyV1, VoteRequest,
    },
    serve_calls::serve_calls,
    snapshot_stream,
    standing::NotAdmitted,
};
use crate::{disk::Room, sessions::refusal::Refusal};

/// Answers peers.
pub(crate) struct Service {
    pub(crate) handles: PeerService,
    /// One snapshot comes in at a time.
    receiving: Semaphore,
}

/// A stream of a peer ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("a second hello on one connection")]
    SecondHello,
}

impl ServeError {
    /// Did the peer send what it must not, as opposed to a network that failed?
    pub(crate) fn is_violation(&self) -> bool {
        match self {
            Self::Frame(error) | Self::Append(AppendError::Frame(error)) => error.is_violation(),
            Self::Append(AppendError::Stalled) | Self::NotAdmitted(_) => false,
            Self::Append(AppendError::Entry(_) | AppendError::Impostor { .. })
            | Self::SecondHello => true,
        }
    }
}

/// Why a node can follow its leader no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It cannot read what the leader sends.
    Unreadable(String),
    /// It lacks what it had acknowledged.
    LogLost(String),
}

type Stream = (SendStream, RecvStream);

impl Service {
    pub(crate) fn new(handles: PeerService) -> Self {
        Self { handles, receiving: Semaphore::new(1) }
    }

    /// A node that cannot read what its leader sends must not go on as if nothing was sent.
    pub(crate) fn note_unreadable(&self, error: &ServeError) {
        let ServeError::Append(AppendError::Frame(FrameError::Decode(reason))) = error else {
            return;
        };
        if matches!(reason, DecodeError::Payload { .. } | DecodeError::NewerFormat { .. }) {
            self.handles.unfit.send_replace(Some(Unfit::Unreadable(reason.to_string())));
        }
    }

    /// A node that lacks what it had acknowledged must not go on as if it had it.
    pub(crate) fn note_log_lost(&self, ended: &ConnectionError) {
        if let ConnectionError::ApplicationClosed(close) = ended
            && Close::LogLost.is_why(ended)
        {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            self.handles.unfit.send_replace(Some(Unfit::LogLost(reason)));
        }
    }

    /// # Errors
    /// [`ServeError`] where the stream ends before its time.
    pub(crate) async fn append(
        &self,
        peer: u64,
        stream: Stream,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        Priority::Append.set(&stream.0);
        // A stream that is dropped is reset: the leader tries again.
        self.handles.standing.require_admitted()?;
        let heard = |stamp| self.handles.clock.heard(stamp);
        let serving = append_stream::serve(peer, stream, heard, |appends| {
            self.handles.raft.stream_append(appends)
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            () = self.handles.disk.exhausted() => Ok(()),
            served = serving => Ok(served?),
        }
    }

    /// # Errors
    /// [`ServeError`] where the stream ends before its time.
    pub(crate) async fn raft_calls(
        self: &Arc<Self>,
        peer: u64,
        stream: Stream,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        Priority::RaftCalls.set(&stream.0);
        let answer = |request: RaftRequestV1<'static>| {
            let service = self.clone();
            async move { service.answer_raft(peer, request).await }
        };
        let busy = |_: &RaftRequestV1<'static>| {
            RaftReplyV1::Unavailable(String::from("too many calls at a time"))
        };
        Ok(serve_calls(stream, stop, answer, busy).await?)
    }

    /// # Errors
    /// [`ServeError`] where the stream ends before its time.
    pub(crate) async fn app_calls(
        self: &Arc<Self>,
        protocol: u16,
        stream: Stream,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        Priority::App.set(&stream.0);
        let answer = |request| {
            let service = self.clone();
            async move { service.answer_app(protocol, request).await }
        };
        let busy = move |request: &AppRequest| match request {
            AppRequest::Propose { .. } => AppReply::answered(Err(Refusal::Overloaded), protocol),
            AppRequest::ReadIndex | AppRequest::Report => {
                AppReply::ReadIndex(Err(Refusal::Overloaded))
            }
            AppRequest::Operate(_) => AppReply::Operated(Err(Refusal::Overloaded.into())),
            AppRequest::Standing | AppRequest::LetIn { .. } => {
                AppReply::LetIn(Err(Refusal::Overloaded.to_string()))
            }
        };
        Ok(serve_calls(stream, stop, answer, busy).await?)
    }

    /// # Errors
    /// [`ServeError`] where the stream ends before its time.
    pub(crate) async fn snapshot(
        &self,
        peer: u64,
        head: SnapshotHeadV1,
        (mut send, mut recv): Stream,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        Priority::Snapshot.set(&send);
        let reply = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            installed = self.install(peer, head, &mut recv) => match installed {
                Ok(vote) => SnapshotReplyV1::Done(vote),
                Err(reason) => {
                    tracing::warn!(node = peer, %reason, "a snapshot was not installed");
                    SnapshotReplyV1::Refused(reason)
                }
            },
        };
        // Tells a sender that is still sending to look at the reply.
        drop(recv);
        frames::write(&mut send, &reply).await?;
        let _ = send.finish();
        Ok(())
    }

    async fn install(
        &self,
        peer: u64,
        head: SnapshotHeadV1,
        recv: &mut RecvStream,
    ) -> Result<VoteV1, String> {
        require_own_vote(peer, head.vote)?;
        self.handles.standing.require_admitted().map_err(text)?;
        // The file, and the state that is made of it.
        if !self.handles.disk.has_room_for(head.size.saturating_mul(2)) {
            return Err(String::from("the disk has no room for the snapshot"));
        }
        let _permit = self
            .receiving
            .try_acquire()
            .map_err(|_| String::from("another snapshot is being received"))?;
        let received = snapshot_stream::receive(recv, &head, &self.handles.inbox).await;
        let snapshot = received.map_err(|error| error.to_string())?;
        let meta = SnapshotMeta::try_from(head.meta).map_err(|error| error.to_string())?;
        let snapshot = Snapshot { meta, snapshot };
        let installed = self.handles.raft.install_full_snapshot(head.vote.into(), snapshot).await;
        installed.map(|response| (&response.vote).into()).map_err(|error| error.to_string())
    }

    async fn answer_app(&self, protocol: u16, request: AppRequest) -> AppReply {
        let PeerService { raft, standing, sessions, reporter, members, .. } = &self.handles;
        match request {
            AppRequest::Propose { intent, request_id } => {
                tracing::debug!(%request_id, "a peer passed a request on");
                AppReply::answered(sessions.propose_here(intent).await, protocol)
            }
            AppRequest::ReadIndex => AppReply::ReadIndex(sessions.read_index_here().await),
            AppRequest::Report => AppReply::Report(Box::new(reporter.report())),
            AppRequest::Operate(request) => AppReply::Operated(members.here(request).await),
            AppRequest::Standing => AppReply::Standing(standing.tell(raft)),
            AppRequest::LetIn { incarnation } => {
                AppReply::LetIn(standing.let_in(incarnation).await.map_err(text))
            }
        }
    }

    async fn answer_raft(&self, peer: u64, request: RaftRequestV1<'static>) -> RaftReplyV1 {
        let vote = match &request {
            RaftRequestV1::Append(append) => append.vote,
            RaftRequestV1::Vote(request) | RaftRequestV1::PreVote(request) => request.vote,
            RaftRequestV1::TransferLeader(request) => request.from,
        };
        if let Err(reason) = require_own_vote(peer, vote) {
            tracing::warn!(node = peer, %reason, "refused a request of a peer");
            return RaftReplyV1::Unavailable(reason);
        }
        match self.ask_raft(request).await {
            Ok(reply) => reply,
            Err(reason) => RaftReplyV1::Unavailable(reason),
        }
    }

    async fn ask_raft(&self, request: RaftRequestV1<'static>) -> Result<RaftReplyV1, String> {
        self.handles.standing.require_admitted().map_err(text)?;
        Ok(match request {
            RaftRequestV1::Append(append) => RaftReplyV1::Append(self.heartbeat(append).await?),
            RaftRequestV1::Vote(request) => {
                let request = VoteRequest::from(request);
                let last = request.last_log_id;
                let response = self.handles.raft.vote(request).await.map_err(text)?;
                self.handles.outrun.note(last, &response);
                RaftReplyV1::Vote((&response).into())
            }
            RaftRequestV1::PreVote(request) => {
                let request = VoteRequest::from(request);
                let last = request.last_log_id;
                let response = self.handles.raft.pre_vote(request).await.map_err(text)?;
                self.handles.outrun.note(last, &response);
                RaftReplyV1::PreVote((&response).into())
            }
            RaftRequestV1::TransferLeader(request) => {
                let ours = request.to == *self.handles.raft.node_id();
                if ours && self.handles.disk.room() != Room::Enough {
                    return Err(String::from("its disk has too little room for it to lead"));
                }
                let response = self.handles.raft.handle_transfer_leader(request.into()).await;
                RaftReplyV1::TransferLeader(response.map_err(text)?.into())
            }
        })
    }

    async fn heartbeat(&self, append: AppendV1<'static>) -> Result<AppendReplyV1, String> {
        use openraft::raft::AppendEntriesResponse as Response;
        if !append.entries.is_empty() && self.handles.disk.room() == Room::Exhausted {
            return Err(String::from("its disk has no room for log entries"));
        }
        if let Some(stamp) = append.stamp {
            self.handles.clock.heard(stamp);
        }
        let previous = append.previous;
        let last = append.entries.last().map(|entry| entry.log_id).or(previous);
        let request = append.into_request().map_err(text)?;
        Ok(match self.handles.raft.append_entries(request).await.map_err(text)? {
            Response::Success => AppendReplyV1::Matched(last),
            Response::PartialSuccess(matched) => {
                AppendReplyV1::Matched(matched.as_ref().map(Into::into))
            }
            Response::Conflict => {
                AppendReplyV1::Conflict(previous.ok_or("nothing conflicts with an empty log")?)
            }
            Response::HigherVote(vote) => AppendReplyV1::HigherVote((&vote).into()),
        })
    }
}

/// A peer asks for itself: as the leader that it is, or the candidate that it would be.
fn require_own_vote(peer: u64, vote: VoteV1) -> Result<(), String> {
    let claimed = vote.voted_for;
    if claimed == peer { Ok(()) } else { Err(format!("node {peer} speaks for node {claimed}")) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
