//! Asks every member at once what it says of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use synckairos_raft_store::raft_types::PeerNode;
use tokio::sync::Mutex;

use super::{
    report::{MemberReportV1, NodeReportV1, Reporter},
    status::ClusterStatus,
    verdict,
};
use crate::{
    disk::Room,
    pki::ClusterId,
    raft::{
        messages::{AppReply, AppRequest},
        peers::Peers,
    },
};

/// Who has not answered by then counts as unreachable.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// A status that is not older is given to the next one who asks: many may watch one node.
const FRESH_FOR: Duration = Duration::from_millis(100);
/// A node that was away learns from the others who is a member now, and asks those too.
const ROUNDS: usize = 2;

/// What a node was asked, and what came of it.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    Report {
        report: Box<NodeReportV1>,
        round_trip: Duration,
        /// Its cluster time minus ours.
        ahead_ms: i64,
    },
    /// It did not answer; the reason is for the operator.
    Nothing(String),
}

/// The last status, and when it was asked for.
type Surveyed = (Instant, Arc<ClusterStatus>);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Survey {
    pub(super) reporter: Reporter,
    peers: Peers,
    pub(super) cluster: ClusterId,
    last: Arc<Mutex<Option<Surveyed>>>,
}

impl Survey {
    pub(crate) fn new(reporter: Reporter, peers: Peers, cluster: ClusterId) -> Self {
        Self { reporter, peers, cluster, last: Arc::default() }
    }

    /// How the cluster is now. Takes half a second where a node does not answer, a second at most.
    pub(crate) async fn status(&self) -> Arc<ClusterStatus> {
        let mut last = self.last.lock().await;
        if let Some((at, status)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return Arc::clone(status);
        }
        let began = Instant::now();
        let own = self.reporter.report();
        let heard = self.ask_all(&own).await;
        let status = Arc::new(verdict::judge(self.cluster, &own, &heard));
        *last = Some((began, Arc::clone(&status)));
        status
    }

    /// The other voters to which this node, as the leader, may hand over: those that answer, have
    /// room on their disks and are not far behind. The furthest ahead comes first.
    pub(crate) async fn able_to_lead(&self) -> Vec<u64> {
        let own = self.reporter.report();
        let heard = self.ask_all(&own).await;
        let mut able: Vec<(u64, u64)> = heard
            .values()
            .filter_map(|heard| match heard {
                Heard::Report { report, .. } => Some(report),
                Heard::Nothing(_) => None,
            })
            .filter(|report| report.node != own.node && report.room == Room::Enough)
            .filter(|report| own.membership.voters.iter().any(|ids| ids.contains(&report.node)))
            .filter(|report| verdict::keeps_up(report.last_log, own.committed))
            .map(|report| (report.last_log, report.node))
            .collect();
        able.sort_unstable_by(|one, other| other.cmp(one));
        able.into_iter().map(|(_, node)| node).collect()
    }

    /// Ids and peer addresses of the members, as this node knows them.
    pub(crate) fn peer_addresses(&self) -> Vec<(u64, String)> {
        let members = self.reporter.report().membership.members;
        members.into_iter().map(|member| (member.node, member.peer)).collect()
    }

    /// The members that answer now and take entries: their disks have room and they are not far
    /// behind.
    pub(crate) async fn answering(&self) -> BTreeSet<u64> {
        let own = self.reporter.report();
        let heard = self.ask_all(&own).await;
        let answered = heard.values().filter_map(|heard| match heard {
            Heard::Report { report, .. } => Some(report),
            Heard::Nothing(_) => None,
        });
        answered
            .filter(|report| report.room != Room::Exhausted)
            .filter(|report| verdict::keeps_up(report.last_log, own.committed))
            .map(|report| report.node)
            .collect()
    }

    /// The newest format level that each member understands; `None` where it did not answer.
    pub(crate) async fn understood(&self) -> BTreeMap<u64, Option<u16>> {
        let own = self.reporter.report();
        let heard = self.ask_all(&own).await;
        let members = &verdict::newest_membership(&own, &heard).members;
        let level_of = |node: u64| match heard.get(&node) {
            Some(Heard::Report { report, .. }) => Some(report.level_newest),
            Some(Heard::Nothing(_)) | None => None,
        };
        members.iter().map(|member| (member.node, level_of(member.node))).collect()
    }

    async fn ask_all(&self, own: &NodeReportV1) -> BTreeMap<u64, Heard> {
        let ourselves = Heard::Report {
            report: Box::new(own.clone()),
            round_trip: Duration::ZERO,
            ahead_ms: 0,
        };
        let mut heard = BTreeMap::from([(own.node, ourselves)]);
        for _ in 0..ROUNDS {
            let members = verdict::newest_membership(own, &heard).members.clone();
            let unasked = members.iter().filter(|member| !heard.contains_key(&member.node));
            let answers: Vec<(u64, Heard)> = join_all(unasked.map(|one| self.ask(one))).await;
            if answers.is_empty() {
                break;
            }
            heard.extend(answers);
        }
        heard
    }

    async fn ask(&self, member: &MemberReportV1) -> (u64, Heard) {
        let MemberReportV1 { node, peer, http } = member.clone();
        let place = PeerNode { peer, http };
        let began = Instant::now();
        let reply = self.peers.call(node, &place, AppRequest::Report, ANSWER_WITHIN).await;
        let round_trip = began.elapsed();
        let heard = match reply {
            Ok(AppReply::Report(report)) => {
                let then = report.cluster_time.unix_millis();
                let half = u64::try_from(round_trip.as_millis() / 2).unwrap_or(u64::MAX);
                let ours = self.reporter.clock.estimate().unix_millis().saturating_sub(half);
                let ahead_ms = then.checked_signed_diff(ours).unwrap_or(i64::MAX);
                Heard::Report { report, round_trip, ahead_ms }
            }
            Ok(_) => Heard::Nothing(String::from("it answered another question")),
            Err(error) => Heard::Nothing(error.to_string()),
        };
        (node, heard)
    }
}
