//! What peers say to each other, in forms that are frozen: a change is a new struct and a higher
//! format number, enum variants are appended only.

use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    codec::Kind, command::Intent, event::Answer, machine::LEVEL_NEWEST, reject::Reject,
    session::v1::AnswerV1, time::Stamp,
};
use synckairos_raft_store::{
    raft_types::{LogId, TypeConfig, Vote},
    wire::{EntryV1, InvalidMembership, LogIdV1, SnapshotMetaV1, VoteV1},
};

use super::frames::Frame;
use crate::{
    health::report::NodeReportV1,
    members::requests::{OperatorAnswer, OperatorRefusal, OperatorRequest},
    sessions::refusal::{ReadIndex, Refusal},
};

pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub(crate) type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
type AppendError = openraft::raft::StreamAppendError<TypeConfig>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
pub(crate) type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
pub(crate) type TransferResponse = openraft::raft::TransferLeaderResponse<TypeConfig>;
type TransferError = openraft::raft::TransferLeaderError<TypeConfig>;

/// The versions of the peer protocol that this node speaks. Who speaks version N understands format
/// level N.
pub(crate) const PROTOCOL_OLDEST: u16 = 1;
pub(crate) const PROTOCOL_NEWEST: u16 = LEVEL_NEWEST;

/// The first frame on every stream: what the stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OpenV1 {
    /// On the first stream of a connection, and nowhere else.
    Hello(HelloV1),
    /// [`AppendV1`] one way, [`AppendReplyV1`] in the same order the other way.
    Append,
    /// [`CallV1`] of [`RaftRequestV1`], [`ReplyV1`] of [`RaftReplyV1`] in any order.
    RaftCalls,
    /// [`CallV1`] of [`AppRequest`], [`ReplyV1`] of [`AppReply`] in any order.
    AppCalls,
    /// The bytes of a snapshot follow, then one [`SnapshotReplyV1`] comes back.
    Snapshot(SnapshotHeadV1),
}

/// Who calls, whom, and which versions of the protocol it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HelloV1 {
    pub(crate) cluster: [u8; 16],
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) oldest: u16,
    pub(crate) newest: u16,
}

/// The caller is welcome. Its certificate was checked by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WelcomeV1 {
    /// The version that both speak from here on.
    pub(crate) protocol: u16,
}

/// Entries to append, or none for a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppendV1<'a> {
    /// Cluster time at the sender while it leads.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) vote: VoteV1,
    pub(crate) previous: Option<LogIdV1>,
    pub(crate) commit: Option<LogIdV1>,
    pub(crate) entries: Vec<EntryV1<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendReplyV1 {
    /// The logs match up to here.
    Matched(Option<LogIdV1>),
    Conflict(LogIdV1),
    HigherVote(VoteV1),
}

/// A request that carries a number by which its reply is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallV1<T> {
    pub(crate) id: u64,
    pub(crate) request: T,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyV1<T> {
    pub(crate) id: u64,
    pub(crate) reply: T,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RaftRequestV1<'a> {
    Append(AppendV1<'a>),
    Vote(VoteRequestV1),
    PreVote(VoteRequestV1),
    TransferLeader(TransferLeaderV1),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RaftReplyV1 {
    Append(AppendReplyV1),
    Vote(VoteReplyV1),
    PreVote(VoteReplyV1),
    TransferLeader(TransferReplyV1),
    /// The node cannot answer; the reason is for its operator.
    Unavailable(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRequestV1 {
    pub(crate) vote: VoteV1,
    pub(crate) last: Option<LogIdV1>,
    pub(crate) leadership_transfer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteReplyV1 {
    pub(crate) vote: VoteV1,
    pub(crate) granted: bool,
    pub(crate) last: Option<LogIdV1>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransferLeaderV1 {
    pub(crate) from: VoteV1,
    pub(crate) to: u64,
    pub(crate) last: Option<LogIdV1>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransferReplyV1 {
    Accepted,
    VoteChanged { expected: VoteV1, actual: VoteV1 },
    LogNotFlushed { expected: Option<LogIdV1>, actual: Option<LogIdV1> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHeadV1 {
    pub(crate) vote: VoteV1,
    pub(crate) meta: SnapshotMetaV1,
    /// Bytes that follow.
    pub(crate) size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SnapshotReplyV1 {
    /// Installed, or not needed; the receiver's vote tells.
    Done(VoteV1),
    Refused(String),
}

/// What a node asks of the leader for its clients. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppRequest {
    Propose {
        intent: Intent,
        /// Under which the request is found in the logs of both nodes.
        request_id: String,
    },
    ReadIndex,
    /// What the node says of itself.
    Report,
    /// What an operator, or a node that joins, asks of the leader.
    Operate(OperatorRequest),
    /// Whether the node takes part.
    Standing,
    /// It may take part: the founder says so, or the leader.
    LetIn {
        /// As it said itself.
        incarnation: u64,
    },
}

/// Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppReply {
    /// Over version 1 of the protocol.
    Propose(Result<Box<AnswerV1>, Refusal>),
    ReadIndex(Result<ReadIndex, Refusal>),
    /// To [`AppRequest::Propose`], from version 2 on.
    Answered(Result<Answer, Refusal>),
    Report(Box<NodeReportV1>),
    Operated(Result<OperatorAnswer, OperatorRefusal>),
    Standing(StandingV1),
    /// Or why the node was not let in.
    LetIn(Result<(), String>),
}

/// Whether a node takes part in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StandingV1 {
    /// Another one after each start.
    pub(crate) incarnation: u64,
    /// Its log is empty, and it has never voted.
    pub(crate) blank: bool,
    pub(crate) admitted: bool,
}

impl AppRequest {
    /// The request as a peer that speaks this version of the protocol understands it.
    ///
    /// # Errors
    /// [`Reject`] where there is no such form.
    pub(crate) fn for_protocol(self, protocol: u16) -> Result<Self, Reject> {
        match self {
            Self::Propose { intent, request_id } => {
                Ok(Self::Propose { intent: intent.at_level(protocol)?, request_id })
            }
            Self::ReadIndex => Ok(Self::ReadIndex),
            Self::Report | Self::Operate(_) | Self::Standing | Self::LetIn { .. }
                if protocol < 2 =>
            {
                Err(Reject::LevelTooLow { needed: 2, level: protocol })
            }
            Self::Report | Self::Operate(_) | Self::Standing | Self::LetIn { .. } => Ok(self),
        }
    }
}

impl AppReply {
    /// What came of a proposal, in the form that a peer of this version understands.
    pub(crate) fn answered(answer: Result<Answer, Refusal>, protocol: u16) -> Self {
        if 2 <= protocol {
            return Self::Answered(answer);
        }
        let known = |answer: Answer| {
            // Whoever speaks version 1 can ask for nothing that is answered otherwise.
            AnswerV1::of(&answer).map(Box::new).ok_or(Refusal::LeadershipLost)
        };
        Self::Propose(answer.and_then(known))
    }
}

impl Frame for OpenV1 {
    const KIND: Kind = Kind::PeerHello;
}

impl Frame for WelcomeV1 {
    const KIND: Kind = Kind::PeerHello;
}

impl Frame for AppendV1<'_> {
    const KIND: Kind = Kind::PeerRequest;
}

impl<T> Frame for CallV1<T> {
    const KIND: Kind = Kind::PeerRequest;
}

impl Frame for AppendReplyV1 {
    const KIND: Kind = Kind::PeerReply;
}

impl<T> Frame for ReplyV1<T> {
    const KIND: Kind = Kind::PeerReply;
}

impl Frame for SnapshotReplyV1 {
    const KIND: Kind = Kind::PeerReply;
}

impl<'a> AppendV1<'a> {
    pub(crate) fn new(request: &'a AppendRequest, stamp: Option<Stamp>) -> Self {
        Self {
            stamp,
            vote: (&request.vote).into(),
            previous: log_id(request.prev_log_id.as_ref()),
            commit: log_id(request.leader_commit.as_ref()),
            entries: request.entries.iter().map(EntryV1::from).collect(),
        }
    }

    /// # Errors
    /// [`InvalidMembership`] where an entry carries one that cannot be.
    pub(crate) fn into_request(self) -> Result<AppendRequest, InvalidMembership> {
        let entries = self.entries.into_iter().map(EntryV1::into_entry);
        Ok(AppendRequest {
            vote: self.vote.into(),
            prev_log_id: self.previous.map(LogId::from),
            entries: entries.collect::<Result<_, _>>()?,
            leader_commit: self.commit.map(LogId::from),
        })
    }
}

impl From<AppendResult> for AppendReplyV1 {
    fn from(result: AppendResult) -> Self {
        match result {
            Ok(matched) => Self::Matched(log_id(matched.as_ref())),
            Err(AppendError::Conflict(at)) => Self::Conflict((&at).into()),
            Err(AppendError::HigherVote(vote)) => Self::HigherVote((&vote).into()),
        }
    }
}

impl From<AppendReplyV1> for AppendResult {
    fn from(reply: AppendReplyV1) -> Self {
        match reply {
            AppendReplyV1::Matched(matched) => Ok(matched.map(LogId::from)),
            AppendReplyV1::Conflict(at) => Err(AppendError::Conflict(at.into())),
            AppendReplyV1::HigherVote(vote) => Err(AppendError::HigherVote(vote.into())),
        }
    }
}

impl From<&VoteRequest> for VoteRequestV1 {
    fn from(request: &VoteRequest) -> Self {
        Self {
            vote: (&request.vote).into(),
            last: log_id(request.last_log_id.as_ref()),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

impl From<VoteRequestV1> for VoteRequest {
    fn from(request: VoteRequestV1) -> Self {
        let mut vote = Self::new(request.vote.into(), request.last.map(LogId::from));
        vote.leadership_transfer = request.leadership_transfer;
        vote
    }
}

impl From<&VoteResponse> for VoteReplyV1 {
    fn from(response: &VoteResponse) -> Self {
        Self {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: log_id(response.last_log_id.as_ref()),
        }
    }
}

impl From<VoteReplyV1> for VoteResponse {
    fn from(reply: VoteReplyV1) -> Self {
        Self::new(Vote::from(reply.vote), reply.last.map(LogId::from), reply.granted)
    }
}

impl From<&TransferRequest> for TransferLeaderV1 {
    fn from(request: &TransferRequest) -> Self {
        Self {
            from: request.from_leader().into(),
            to: *request.to_node_id(),
            last: log_id(request.last_log_id()),
        }
    }
}

impl From<TransferLeaderV1> for TransferRequest {
    fn from(transfer: TransferLeaderV1) -> Self {
        Self::new(transfer.from.into(), transfer.to, transfer.last.map(LogId::from))
    }
}

impl From<TransferResponse> for TransferReplyV1 {
    fn from(response: TransferResponse) -> Self {
        match response {
            Ok(()) => Self::Accepted,
            Err(TransferError::VoteChanged { expected, actual }) => {
                Self::VoteChanged { expected: (&expected).into(), actual: (&actual).into() }
            }
            Err(TransferError::LogNotFlushed { expected, actual }) => Self::LogNotFlushed {
                expected: log_id(expected.as_ref()),
                actual: log_id(actual.as_ref()),
            },
        }
    }
}

impl From<TransferReplyV1> for TransferResponse {
    fn from(reply: TransferReplyV1) -> Self {
        match reply {
            TransferReplyV1::Accepted => Ok(()),
            TransferReplyV1::VoteChanged { expected, actual } => {
                Err(TransferError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            TransferReplyV1::LogNotFlushed { expected, actual } => {
                Err(TransferError::LogNotFlushed {
                    expected: expected.map(LogId::from),
                    actual: actual.map(LogId::from),
                })
            }
        }
    }
}

fn log_id(at: Option<&LogId>) -> Option<LogIdV1> {
    at.map(LogIdV1::from)
}
