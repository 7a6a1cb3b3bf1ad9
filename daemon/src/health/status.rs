//! `GET /v1/cluster/status`: the form that operators and their scripts read.

use serde::{Deserialize, Serialize};

use crate::disk::Room;

/// Does the cluster serve, and how much more may fail?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Health {
    /// It serves, and goes on serving when one more voter fails.
    Healthy,
    /// It serves, and stops when one more voter fails.
    Degraded,
    /// Nothing can be changed, nor read linearizably.
    NoQuorum,
}

/// On whose word the status rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum View {
    /// A majority of the voters answered.
    Cluster,
    /// Some answered, and not a majority.
    SomeNodes,
    /// Nobody but the node that was asked.
    ThisNodeOnly,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    pub(crate) cluster_id: String,
    /// The node that answers.
    pub(crate) asked: u64,
    pub(crate) view: View,
    pub(crate) health: Health,
    /// How many more voters may fail, whichever they are; 0 also where there is no quorum.
    pub(crate) tolerates: u64,
    /// One sentence for people.
    pub(crate) summary: String,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    /// The format level of what is replicated.
    pub(crate) level: u16,
    pub(crate) sessions: u64,
    /// Cluster time when the node answered, in milliseconds since the Unix epoch.
    pub(crate) cluster_time_ms: u64,
    /// What concerns more than one node, in words.
    pub(crate) warnings: Vec<String>,
    pub(crate) nodes: Vec<NodeStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) id: u64,
    pub(crate) peer: String,
    pub(crate) http: String,
    pub(crate) voter: bool,
    /// Did it answer, or does the leader hear it?
    pub(crate) reached: bool,
    /// A voter that is well counts for the majority.
    pub(crate) well: bool,
    /// `leader`, `follower`, `candidate`, `learner`, or `unknown` where it did not answer.
    pub(crate) role: String,
    pub(crate) warnings: Vec<String>,
    /// Absent where the node did not answer.
    #[serde(flatten)]
    pub(crate) details: Option<NodeDetails>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeDetails {
    pub(crate) term: u64,
    /// Index of the last entry in its log.
    pub(crate) last_log: u64,
    /// Index of the last entry that it has applied.
    pub(crate) applied: u64,
    /// Committed entries that it has not applied.
    pub(crate) lag_entries: u64,
    /// How long ago it heard the leader, or as the leader a majority.
    pub(crate) last_contact_ms: Option<u64>,
    /// From question to answer; 0 for the node that was asked.
    pub(crate) round_trip_ms: u64,
    /// Its wall clock's distance from its cluster time: cluster time minus wall clock.
    pub(crate) wall_offset_ms: i64,
    /// Its cluster time minus that of the node that was asked, to within the round trip.
    pub(crate) cluster_time_ahead_ms: i64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) disk_total_bytes: u64,
    /// `enough`, `low` or `exhausted`.
    pub(crate) disk_room: Room,
    pub(crate) sessions: u64,
    pub(crate) version: String,
    /// The newest format level that it understands.
    pub(crate) level_newest: u16,
    /// The newest version of the peer protocol that it speaks.
    pub(crate) protocol_newest: u16,
    pub(crate) certificate_days_left: u64,
}

impl Health {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::NoQuorum => "NO QUORUM",
        }
    }
}
