//! From what the members said to how the cluster is. No clock, no socket: a function.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    report::{FollowerReportV1, MemberReportV1, MembershipReportV1, NodeReportV1},
    status::{ClusterStatus, Health, NodeDetails, NodeStatus, View},
    survey::Heard,
};
use crate::{disk::Room, pki::ClusterId};

/// A voter that is further behind is catching up: without it, others must have the entries.
const LAG_ENTRIES_MAX: u64 = 1_000;
/// A leader that has not heard from a majority, or from a follower, for longer cannot count on it.
const CONTACT_MAX_MS: u64 = 1_500;

/// Is a log that reaches this far nearly complete?
pub(super) const fn keeps_up(reached: u64, committed: u64) -> bool {
    committed.saturating_sub(reached) <= LAG_ENTRIES_MAX
}

/// The membership made by the latest entry that anybody knows.
pub(super) fn newest_membership<'a>(
    own: &'a NodeReportV1,
    heard: &'a BTreeMap<u64, Heard>,
) -> &'a MembershipReportV1 {
    let all = reports(heard).map(|report| &report.membership);
    all.chain([&own.membership]).max_by_key(|one| one.index).unwrap_or(&own.membership)
}

/// What the node of `own` makes of what it heard.
pub(super) fn judge(
    cluster: ClusterId,
    own: &NodeReportV1,
    heard: &BTreeMap<u64, Heard>,
) -> ClusterStatus {
    let membership = newest_membership(own, heard);
    let leader = leader(heard);
    let nodes: Vec<NodeStatus> =
        membership.members.iter().map(|member| node(member, membership, leader, heard)).collect();
    let well = |id: u64| nodes.iter().any(|node| node.id == id && node.well);
    let answered = |id: u64| matches!(heard.get(&id), Some(Heard::Report { .. }));

    let spare = spare(&membership.voters, well).filter(|_| leader.is_some());
    let health = match spare {
        None => Health::NoQuorum,
        Some(0) => Health::Degraded,
        Some(_) => Health::Healthy,
    };
    let view = if self::spare(&membership.voters, answered).is_some() {
        View::Cluster
    } else if reports(heard).count() <= 1 {
        View::ThisNodeOnly
    } else {
        View::SomeNodes
    };
    let voters: BTreeSet<u64> = membership.voters.iter().flatten().copied().collect();
    let well_count = voters.iter().filter(|id| well(**id)).count();
    ClusterStatus {
        cluster_id: cluster.to_string(),
        asked: own.node,
        view,
        health,
        tolerates: spare.unwrap_or(0),
        summary: summary(spare, well_count, voters.len(), leader.is_some()),
        leader: leader.map(|leader| leader.node),
        term: reports(heard).map(|report| report.term).max().unwrap_or(own.term),
        level: reports(heard).map(|report| report.level).max().unwrap_or(own.level),
        sessions: leader.unwrap_or(own).sessions,
        cluster_time_ms: own.cluster_time.unix_millis(),
        warnings: warnings(own, heard, view),
        nodes,
    }
}

/// How many more of the voters may be lost; `None` where too many are lost already.
fn spare(voters: &[BTreeSet<u64>], counts: impl Fn(u64) -> bool) -> Option<u64> {
    let groups = voters.iter().map(|group| {
        let counted = group.iter().filter(|id| counts(**id)).count();
        let majority = group.len() / 2 + 1;
        counted.checked_sub(majority).and_then(|spare| u64::try_from(spare).ok())
    });
    groups.collect::<Option<Vec<u64>>>()?.into_iter().min()
}

fn reports(heard: &BTreeMap<u64, Heard>) -> impl Iterator<Item = &NodeReportV1> {
    heard.values().filter_map(|heard| match heard {
        Heard::Report { report, .. } => Some(report.as_ref()),
        Heard::Nothing(_) => None,
    })
}

/// The node that leads, with a majority behind it. One that was deposed may not know it yet.
fn leader(heard: &BTreeMap<u64, Heard>) -> Option<&NodeReportV1> {
    let leads = |report: &&NodeReportV1| {
        let in_touch = report.last_contact_ms.is_some_and(|ms| ms <= CONTACT_MAX_MS);
        report.role == "leader" && in_touch
    };
    reports(heard).filter(leads).max_by_key(|report| report.term)
}

fn node(
    member: &MemberReportV1,
    membership: &MembershipReportV1,
    leader: Option<&NodeReportV1>,
    heard: &BTreeMap<u64, Heard>,
) -> NodeStatus {
    let id = member.node;
    let voter = membership.voters.iter().any(|group| group.contains(&id));
    let status = |reached, well, role: &str, warnings, details| NodeStatus {
        id,
        peer: member.peer.clone(),
        http: member.http.clone(),
        voter,
        reached,
        well,
        role: role.to_owned(),
        warnings,
        details,
    };
    match heard.get(&id) {
        Some(Heard::Report { report, round_trip, ahead_ms }) => {
            let committed = leader.map_or(report.committed, |leader| leader.committed);
            let follows = leader
                .is_some_and(|leader| leader.node == id || report.leader == Some(leader.node));
            let well =
                follows && report.room != Room::Exhausted && keeps_up(report.last_log, committed);
            let round_trip_ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
            let details = details(report, committed, round_trip_ms, *ahead_ms);
            let mut warnings = report.warnings.clone();
            if !keeps_up(report.last_log, committed) {
                let behind = committed.saturating_sub(report.last_log);
                warnings.push(format!("it is {behind} entries behind and catching up"));
            }
            status(true, well, &report.role, warnings, Some(details))
        }
        Some(Heard::Nothing(reason)) => match leader.and_then(|leader| follower(leader, id)) {
            // The leader hears it, whatever stands between it and the node that was asked.
            Some(follower) => {
                let committed = leader.map_or(0, |leader| leader.committed);
                let well = keeps_up(follower.matched, committed);
                let told = format!("only the leader reaches it: {reason}");
                status(true, well, "unknown", vec![told], None)
            }
            None => status(false, false, "unknown", vec![format!("unreachable: {reason}")], None),
        },
        None => status(false, false, "unknown", vec![String::from("it was not asked")], None),
    }
}

/// What the leader knows of a node that it heard a moment ago.
fn follower(leader: &NodeReportV1, id: u64) -> Option<&FollowerReportV1> {
    leader.followers.iter().find(|follower| {
        follower.node == id && follower.heard_ms.is_some_and(|ms| ms <= CONTACT_MAX_MS)
    })
}

fn details(
    report: &NodeReportV1,
    committed: u64,
    round_trip_ms: u64,
    cluster_time_ahead_ms: i64,
) -> NodeDetails {
    NodeDetails {
        term: report.term,
        last_log: report.last_log,
        applied: report.applied,
        lag_entries: committed.saturating_sub(report.applied),
        last_contact_ms: report.last_contact_ms,
        round_trip_ms,
        wall_offset_ms: report.wall_offset_ms,
        cluster_time_ahead_ms,
        disk_free_bytes: report.disk_free_bytes,
        disk_total_bytes: report.disk_total_bytes,
        disk_room: report.room,
        sessions: report.sessions,
        version: report.version.clone(),
        level_newest: report.level_newest,
        protocol_newest: report.protocol_newest,
        certificate_days_left: report.certificate_days_left,
    }
}

fn summary(spare: Option<u64>, well: usize, voters: usize, has_leader: bool) -> String {
    match spare {
        None if !has_leader => format!(
            "no leader has a majority of the {voters} voters behind it: nothing can be changed; an \
             election may be under way"
        ),
        None => format!(
            "{well} of {voters} voters are well, and {} are needed: nothing can be changed",
            voters / 2 + 1
        ),
        Some(0) if voters == 1 => String::from(
            "the only voter is well; nothing may fail: a cluster of three survives one",
        ),
        Some(0) => {
            format!("{well} of {voters} voters are well; the cluster stops when one more fails")
        }
        Some(1) => format!("{well} of {voters} voters are well; one more may fail"),
        Some(more) => format!("{well} of {voters} voters are well; {more} more may fail"),
    }
}

fn warnings(own: &NodeReportV1, heard: &BTreeMap<u64, Heard>, view: View) -> Vec<String> {
    let mut warnings = Vec::new();
    match view {
        View::Cluster => {}
        View::SomeNodes => warnings.push(format!(
            "fewer than a majority answered node {}: what it says of the others may be wrong",
            own.node
        )),
        View::ThisNodeOnly => warnings.push(format!(
            "nobody answered node {}: this is its own view, and it may be the one that is cut off",
            own.node
        )),
    }
    let versions: BTreeSet<&str> = reports(heard).map(|report| report.version.as_str()).collect();
    if 1 < versions.len() {
        let versions: Vec<&str> = versions.into_iter().collect();
        warnings
            .push(format!("the nodes run versions {}; finish the upgrade", versions.join(" and ")));
    } else if reports(heard).all(|report| report.level < report.level_newest) {
        warnings.push(format!(
            "the cluster is at format level {} and all nodes that answered understand {}",
            own.level, own.level_newest
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use synckairos_protocol::time::Stamp;

    use super::*;

    fn members(ids: &[u64]) -> MembershipReportV1 {
        let member = |node: &u64| MemberReportV1 {
            node: *node,
            peer: format!("peer-{node}:1"),
            http: format!("http-{node}:1"),
        };
        MembershipReportV1 {
            index: Some(1),
            voters: vec![ids.iter().copied().collect()],
            members: ids.iter().map(member).collect(),
        }
    }

    fn report(node: u64, leader: u64, ids: &[u64]) -> NodeReportV1 {
        NodeReportV1 {
            node,
            role: String::from(if node == leader { "leader" } else { "follower" }),
            term: 4,
            leader: Some(leader),
            last_log: 5_000,
            committed: 5_000,
            applied: 5_000,
            membership: members(ids),
            last_contact_ms: Some(20),
            followers: Vec::new(),
            cluster_time: Stamp::from_unix_millis(7),
            wall_offset_ms: 0,
            disk_free_bytes: 9,
            disk_total_bytes: 10,
            room: Room::Enough,
            sessions: 3,
            version: String::from("3.0.0"),
            level: 2,
            level_newest: 2,
            protocol_newest: 2,
            certificate_days_left: 300,
            warnings: Vec::new(),
        }
    }

    fn judged(asked: u64, ids: &[u64], reports: &[NodeReportV1]) -> ClusterStatus {
        let mut heard: BTreeMap<u64, Heard> =
            ids.iter().map(|id| (*id, Heard::Nothing(String::from("no reply")))).collect();
        for report in reports {
            let report = Box::new(report.clone());
            let node = report.node;
            let heard_now = Heard::Report { report, round_trip: Duration::ZERO, ahead_ms: 0 };
            heard.insert(node, heard_now);
        }
        let own = reports.iter().find(|report| report.node == asked).unwrap();
        judge(ClusterId::random(), own, &heard)
    }

    #[test]
    fn health_is_how_many_more_may_fail() {
        type Case<'a> = (&'a [u64], &'a [u64], Health, u64, View);
        let table: [Case<'_>; 9] = [
            (&[1], &[1], Health::Degraded, 0, View::Cluster),
            (&[1, 2, 3], &[1, 2, 3], Health::Healthy, 1, View::Cluster),
            (&[1, 2, 3], &[1, 3], Health::Degraded, 0, View::Cluster),
            (&[1, 2, 3], &[1], Health::NoQuorum, 0, View::ThisNodeOnly),
            (&[1, 2], &[1, 2], Health::Degraded, 0, View::Cluster),
            (&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], Health::Healthy, 2, View::Cluster),
            (&[1, 2, 3, 4, 5], &[1, 3, 4, 5], Health::Healthy, 1, View::Cluster),
            (&[1, 2, 3, 4, 5], &[1, 4, 5], Health::Degraded, 0, View::Cluster),
            (&[1, 2, 3, 4, 5], &[1, 5], Health::NoQuorum, 0, View::SomeNodes),
        ];
        for (ids, answering, health, tolerates, view) in table {
            let reports: Vec<NodeReportV1> =
                answering.iter().map(|id| report(*id, 1, ids)).collect();
            let status = judged(1, ids, &reports);
            let found = (status.health, status.tolerates, status.view);
            assert_eq!(found, (health, tolerates, view), "{answering:?} of {ids:?}");
            assert_eq!(status.nodes.len(), ids.len());
        }
    }

    #[test]
    fn a_leader_without_a_majority_is_none() {
        let ids = [1, 2, 3];
        let mut alone = report(1, 1, &ids);
        alone.last_contact_ms = Some(60_000);
        let status = judged(1, &ids, &[alone, report(2, 1, &ids), report(3, 1, &ids)]);
        assert_eq!((status.health, status.leader), (Health::NoQuorum, None));
        assert!(status.summary.contains("no leader"), "{}", status.summary);
    }

    #[test]
    fn who_is_full_or_far_behind_does_not_count() {
        let ids = [1, 2, 3];
        let mut full = report(2, 1, &ids);
        full.room = Room::Exhausted;
        let status = judged(1, &ids, &[report(1, 1, &ids), full, report(3, 1, &ids)]);
        assert_eq!(status.health, Health::Degraded);
        let mut behind = report(2, 1, &ids);
        behind.last_log = 100;
        let status = judged(1, &ids, &[report(1, 1, &ids), behind, report(3, 1, &ids)]);
        assert_eq!(status.health, Health::Degraded);
        assert!(status.nodes[1].warnings[0].contains("4900 entries behind"));
    }

    #[test]
    fn who_the_leader_hears_counts_although_it_did_not_answer() {
        let ids = [1, 2, 3];
        let mut leader = report(2, 2, &ids);
        leader.followers = vec![FollowerReportV1 { node: 3, matched: 4_999, heard_ms: Some(80) }];
        let status = judged(1, &ids, &[report(1, 2, &ids), leader]);
        assert_eq!(status.health, Health::Healthy);
        assert!(status.nodes[2].reached && status.nodes[2].details.is_none());
        assert!(status.nodes[2].warnings[0].contains("only the leader"));
    }

    #[test]
    fn a_change_of_members_needs_both_majorities() {
        let ids = [1, 2, 3, 4];
        let mut reports: Vec<NodeReportV1> = [1, 2, 3].map(|id| report(id, 1, &ids)).to_vec();
        for report in &mut reports {
            report.membership.voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        }
        let status = judged(1, &ids, &reports);
        assert_eq!((status.health, status.tolerates), (Health::Degraded, 0));
    }

    #[test]
    fn the_newest_membership_is_the_one_that_counts() {
        let old = report(1, 2, &[1, 2, 3]);
        let mut new = report(2, 2, &[1, 2, 4]);
        new.membership.index = Some(9);
        let status = judged(1, &[1, 2, 3, 4], &[old, new]);
        let ids: Vec<u64> = status.nodes.iter().map(|node| node.id).collect();
        assert_eq!(ids, [1, 2, 4]);
    }
}
