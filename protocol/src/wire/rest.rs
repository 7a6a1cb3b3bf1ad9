//! What the REST routes answer. v2's keys come first and in v2's order; v3's follow.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::words::{self, TimeoutRule};
use crate::{
    ids::{GroupId, ParticipantId, SessionId},
    session::{OnOutage, Phase, Seat, Session, Status, SyncMode},
    time::{Millis, Stamp},
};

/// What v2 says of itself on `GET /v1/time`; clients of v2 compare it.
pub const SERVER_VERSION: &str = "2.0.0";
/// v2's promise on `GET /v1/time`.
pub const DRIFT_TOLERANCE: Millis = Millis::new(50);

/// The wrapper around every successful answer about sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    pub data: T,
}

/// A session as clients see it, as of its last change: who wants the time left now subtracts
/// the cluster time that has passed since `cycle_started_at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    pub session_id: SessionId,
    #[serde(with = "words::mode")]
    pub sync_mode: SyncMode,
    pub status: Status,
    pub version: u64,
    pub participants: Vec<ParticipantState>,
    pub active_participant_id: Option<ParticipantId>,
    pub total_time_ms: Millis,
    pub time_per_cycle_ms: Option<Millis>,
    /// Start of the stretch that is not charged yet; null unless running.
    #[serde(with = "words::iso_option")]
    pub cycle_started_at: Option<Stamp>,
    #[serde(with = "words::iso_option")]
    pub session_started_at: Option<Stamp>,
    #[serde(with = "words::iso_option")]
    pub session_completed_at: Option<Stamp>,
    pub increment_ms: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time_ms: Option<Millis>,
    #[serde(with = "words::iso")]
    pub created_at: Stamp,
    #[serde(with = "words::iso")]
    pub updated_at: Stamp,

    /// Present in `per_group` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupState>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<TimeoutRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_advance: Option<bool>,
    /// Present where an outage is not charged.
    #[serde(default, skip_serializing_if = "is_charged")]
    pub on_outage: OnOutage,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings_ms: Vec<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// What the running clock had left at the last change; null where there is none.
    #[serde(default)]
    pub time_remaining_ms: Option<Millis>,
    /// Time that the session had run at the last change.
    #[serde(default)]
    pub elapsed_ms: Millis,
    /// When the running clock falls due, in milliseconds since the Unix epoch of cluster time.
    #[serde(default)]
    pub deadline_ms: Option<Stamp>,
    #[serde(default, with = "words::iso_option")]
    pub expired_at: Option<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantState {
    pub participant_id: ParticipantId,
    pub participant_index: u64,
    /// v2's name for the bank: what is left of it as of the last change.
    pub total_time_ms: Millis,
    pub time_used_ms: Millis,
    /// What the participant may still use: the bank, or the one of the participant's group.
    pub time_remaining_ms: Millis,
    pub cycle_count: u64,
    pub is_active: bool,
    pub has_expired: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
    #[serde(default, with = "words::iso_option", skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    pub group_id: GroupId,
    /// What is left of the group's bank as of the last change.
    pub total_time_ms: Millis,
}

/// The answer to a switch: v2's six keys, and the version it produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchResult {
    pub session_id: SessionId,
    pub active_participant_id: Option<ParticipantId>,
    #[serde(with = "words::iso_option")]
    pub cycle_started_at: Option<Stamp>,
    pub participants: Vec<ParticipantState>,
    pub status: Status,
    /// The participant just switched away from, where out of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_participant_id: Option<ParticipantId>,
    pub version: u64,
}

/// `GET /v1/time`, without an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAnswer {
    /// Cluster time in milliseconds since the Unix epoch.
    pub timestamp_ms: Stamp,
    pub server_version: String,
    pub drift_tolerance_ms: Millis,
}

/// `GET /v1/node`: what one node knows of itself and of its leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAnswer {
    pub node_id: u64,
    /// `leader`, `follower`, `candidate` or `learner`.
    pub role: String,
    pub term: u64,
    pub leader_id: Option<u64>,
    /// Where the leader answers clients, where this node knows it.
    pub leader_http: Option<String>,
    /// Index of the last entry in this node's log.
    pub last_log: u64,
    /// Index of the last entry that this node has applied.
    pub applied: u64,
    /// Version of the program.
    pub version: String,
}

/// `GET /v1/cluster/nodes`: who belongs to the cluster, as far as one node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesAnswer {
    /// Tells the members of one cluster from those of another that a client can reach, too.
    pub cluster_id: String,
    /// Ordered by id.
    pub nodes: Vec<MemberAnswer>,
    pub leader: Option<u64>,
    /// Position in the log of what made them members: of two answers, the higher one is newer.
    pub membership_revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAnswer {
    pub id: u64,
    /// Where it answers clients: `host:port`.
    pub http: String,
    /// Does it count for a majority? One that does not is still catching up, or on its way out.
    pub voter: bool,
}

impl TimeAnswer {
    pub fn at(now: Stamp) -> Self {
        Self {
            timestamp_ms: now,
            server_version: String::from(SERVER_VERSION),
            drift_tolerance_ms: DRIFT_TOLERANCE,
        }
    }
}

impl From<&Session> for SessionState {
    fn from(session: &Session) -> Self {
        let groups = || {
            let state = |group: &crate::session::Group| GroupState {
                group_id: group.id,
                total_time_ms: group.bank,
            };
            session.groups.iter().map(state).collect()
        };
        Self {
            session_id: session.id,
            sync_mode: session.mode,
            status: session.status(),
            version: session.version,
            participants: participants(session),
            active_participant_id: active_id(session),
            total_time_ms: session.total_time,
            time_per_cycle_ms: session.time_per_cycle,
            cycle_started_at: cycle_started_at(session),
            session_started_at: session.started_at,
            session_completed_at: session.completed_at,
            increment_ms: session.increment,
            max_time_ms: session.max_time,
            created_at: session.created_at,
            updated_at: session.updated_at,
            groups: (session.mode == SyncMode::PerGroup).then(groups),
            on_timeout: session.on_timeout.as_ref().map(TimeoutRule::from),
            auto_advance: session.auto_advance,
            on_outage: session.on_outage,
            warnings_ms: session.warnings.clone(),
            metadata: session.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            time_remaining_ms: session.clock_remaining(),
            elapsed_ms: session.elapsed,
            deadline_ms: session.expiry_due(),
            expired_at: session.expired_at,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_charged(on_outage: &OnOutage) -> bool {
    *on_outage == OnOutage::Charge
}

impl SwitchResult {
    /// `expired` is the participant just switched away from, where out of time.
    pub fn new(session: &Session, expired: Option<ParticipantId>) -> Self {
        Self {
            session_id: session.id,
            active_participant_id: active_id(session),
            cycle_started_at: cycle_started_at(session),
            participants: participants(session),
            status: session.status(),
            expired_participant_id: expired,
            version: session.version,
        }
    }
}

fn participants(session: &Session) -> Vec<ParticipantState> {
    let active = session.active();
    let state = |(participant, seat): (&crate::session::Participant, u16)| {
        let seat = Seat(seat);
        ParticipantState {
            participant_id: participant.id,
            participant_index: participant.index,
            total_time_ms: participant.bank,
            time_used_ms: participant.used,
            time_remaining_ms: session.time_remaining(seat),
            cycle_count: participant.cycles,
            is_active: active == Some(seat),
            has_expired: participant.expired_at.is_some(),
            group_id: participant.group,
            expired_at: participant.expired_at,
        }
    };
    session.participants.iter().zip(0..).map(state).collect()
}

fn active_id(session: &Session) -> Option<ParticipantId> {
    session.active().map(|seat| session.participant(seat).id)
}

fn cycle_started_at(session: &Session) -> Option<Stamp> {
    match session.phase {
        Phase::Running { since, .. } => Some(since),
        Phase::Pending | Phase::Paused { .. } | Phase::Expired { .. } | Phase::Completed { .. } => {
            None
        }
    }
}
