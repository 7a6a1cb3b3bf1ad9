//! What one node says of itself when another one, or its operator, asks.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    machine::{LEVEL_NEWEST, Machine},
    time::Stamp,
};
use synckairos_raft_store::Applied;

use crate::{
    backup::schedule::ScheduleHealth,
    disk::{Disk, Room},
    raft::{Raft, clock::ClusterClock, messages::PROTOCOL_NEWEST, vitals::Vitals},
    sessions::Sessions,
};

/// Beyond this, cluster time and a host's wall clock disagree so much that the host needs its
/// operator.
const WALL_OFFSET_WARN_MS: u64 = 1_000;
/// The end of a certificate is announced so long before.
const CERTIFICATE_WARN_DAYS: u64 = 60;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Travels between nodes, frozen: a change is a new struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeReportV1 {
    pub(crate) node: u64,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) last_log: u64,
    pub(crate) committed: u64,
    pub(crate) applied: u64,
    pub(crate) membership: MembershipReportV1,
    /// How long ago the leader was heard, or as the leader a majority.
    pub(crate) last_contact_ms: Option<u64>,
    /// What the leader knows of the others.
    pub(crate) followers: Vec<FollowerReportV1>,
    /// Cluster time as this node knows it.
    pub(crate) cluster_time: Stamp,
    /// Cluster time minus this host's wall clock.
    pub(crate) wall_offset_ms: i64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) disk_total_bytes: u64,
    pub(crate) room: Room,
    pub(crate) sessions: u64,
    /// Of the program.
    pub(crate) version: String,
    /// The format level that the cluster is at, as far as this node has applied.
    pub(crate) level: u16,
    /// The format level that this node understands.
    pub(crate) level_newest: u16,
    /// The version of the peer protocol that this node speaks.
    pub(crate) protocol_newest: u16,
    pub(crate) certificate_days_left: u64,
    /// What its operator should know, in words.
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipReportV1 {
    /// Index of the entry that made it: of two, the higher one is newer.
    pub(crate) index: Option<u64>,
    /// Each group needs a majority of its own.
    pub(crate) voters: Vec<BTreeSet<u64>>,
    pub(crate) members: Vec<MemberReportV1>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberReportV1 {
    pub(crate) node: u64,
    /// `host:port`, UDP.
    pub(crate) peer: String,
    /// `host:port`.
    pub(crate) http: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowerReportV1 {
    pub(crate) node: u64,
    pub(crate) matched: u64,
    pub(crate) heard_ms: Option<u64>,
}

/// Whatever a node knows of itself. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) raft: Raft,
    pub(crate) applied: Applied,
    pub(crate) sessions: Sessions,
    pub(crate) clock: ClusterClock,
    pub(crate) disk: Disk,
    pub(crate) backups: ScheduleHealth,
    pub(crate) certificate_expires: SystemTime,
}

impl Reporter {
    pub(crate) fn report(&self) -> NodeReportV1 {
        let vitals = Vitals::of(&self.raft);
        let disk = self.disk.reading();
        let days_left = self.certificate_expires.duration_since(SystemTime::now());
        let days_left = days_left.map_or(0, |left| left.as_secs() / DAY.as_secs());
        let wall_offset_ms = self.clock.offset_ms();
        let last_contact = match vitals.role {
            "leader" => vitals.majority_heard,
            _ => vitals.leader.map(|_| self.clock.silence()),
        };
        let followers = vitals.followers.iter().map(|(node, follower)| FollowerReportV1 {
            node: *node,
            matched: follower.matched,
            heard_ms: follower.heard.map(millis),
        });
        let members = vitals.members.into_iter().map(|(node, place)| MemberReportV1 {
            node,
            peer: place.peer,
            http: place.http,
        });
        NodeReportV1 {
            node: vitals.node,
            role: vitals.role.to_owned(),
            term: vitals.term,
            leader: vitals.leader,
            last_log: vitals.last_log,
            committed: vitals.committed,
            applied: vitals.applied,
            last_contact_ms: last_contact.map(millis),
            followers: followers.collect(),
            membership: MembershipReportV1 {
                index: vitals.membership_index,
                voters: vitals.voters,
                members: members.collect(),
            },
            cluster_time: self.clock.estimate(),
            wall_offset_ms,
            disk_free_bytes: disk.free_bytes,
            disk_total_bytes: disk.total_bytes,
            room: disk.room,
            sessions: u64::try_from(self.applied.session_count()).unwrap_or(u64::MAX),
            version: String::from(env!("CARGO_PKG_VERSION")),
            level: self.applied.read(Machine::level),
            level_newest: LEVEL_NEWEST,
            protocol_newest: PROTOCOL_NEWEST,
            certificate_days_left: days_left,
            warnings: self.warnings(wall_offset_ms, days_left),
        }
    }

    fn warnings(&self, wall_offset_ms: i64, certificate_days_left: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.disk.complaint());
        if let Err(reason) = self.sessions.ready() {
            let told = warnings.contains(&reason);
            warnings.extend((!told).then(|| format!("it is not ready: {reason}")));
        }
        warnings.extend(self.backups.complaint());
        if WALL_OFFSET_WARN_MS < wall_offset_ms.unsigned_abs() {
            warnings.push(format!(
                "its wall clock is {wall_offset_ms} ms from cluster time; check time \
                 synchronisation on its host"
            ));
        }
        if certificate_days_left < CERTIFICATE_WARN_DAYS {
            warnings.push(format!(
                "its certificate expires in {certificate_days_left} days; issue a new one and \
                 restart it"
            ));
        }
        warnings
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
