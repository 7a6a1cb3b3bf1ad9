//! Every node of a cluster replaced, and every node restarted, under load: nobody who asks through
//! the client crate is refused anything, and nothing that was acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, time::Duration};

use synckairos_tests::{
    client_load::{ClientLoad, Outcome},
    cluster::{Cluster, Plan},
    command_line::Printed,
    load,
    sessions::{cycles, number, text},
    wait::{PATIENCE, eventually, holds},
};

/// Longest time without a switch of any client while nodes are restarted one after another.
const GAP_MAX: Duration = Duration::from_secs(1);
const CLIENTS: usize = 4;

/// Waits until the status is HEALTHY and names these nodes.
async fn await_healthy(cluster: &Cluster, members: &BTreeSet<u64>) {
    eventually(PATIENCE, "the cluster is healthy and has these members", async || {
        let status = cluster.http().get("/v1/cluster/status").await.expect(200).json();
        let nodes = status["nodes"].as_array().unwrap().iter();
        let ids: BTreeSet<u64> = nodes.map(|node| number(&node["id"])).collect();
        holds(status["health"] == "HEALTHY" && ids == *members, || status.to_string())
    })
    .await;
}

/// No request failed, and each node has every acknowledged switch.
async fn check(cluster: &Cluster, outcome: &Outcome) {
    let switches = outcome.tallies.iter().map(|tally| tally.acknowledged.len()).sum::<usize>();
    eprintln!("{switches} switches, longest gap {:?}", load::longest_gap(&outcome.tallies));
    outcome.check_promises();
    for node in &cluster.nodes {
        // The followed session was completed in the end, which is a version and no cycle.
        let (followed, others) = outcome.tallies.split_first().unwrap();
        let ended = node.http.state(&followed.session).await;
        assert_eq!(number(&ended["version"]), followed.version + 1, "node {}", node.id);
        assert_eq!(cycles(&ended), u64::try_from(followed.acknowledged.len()).unwrap());
        for tally in others {
            tally.check(&node.http.state(&tally.session).await);
        }
    }
}

#[tokio::test]
async fn every_node_names_the_members() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await.id;
    let mut revisions = BTreeSet::new();
    for node in &cluster.nodes {
        let answer = node.http.get("/v1/cluster/nodes").await.expect(200);
        let told = answer.header("synckairos-membership").map(String::from);
        let answer = answer.json();
        assert_eq!(told, Some(answer["membership_revision"].to_string()));
        assert_eq!(answer["cluster_id"], cluster.id.as_str());
        assert_eq!(answer["leader"], leader);
        revisions.insert(number(&answer["membership_revision"]));
        let named = answer["nodes"].as_array().unwrap();
        assert_eq!(named.len(), 3);
        for (named, member) in named.iter().zip(&cluster.nodes) {
            assert_eq!(number(&named["id"]), member.id);
            assert_eq!(text(&named["http"]), member.address.to_string());
            assert_eq!(named["voter"], true);
        }
    }
    assert_eq!(revisions.len(), 1, "{revisions:?}");
}

#[tokio::test]
async fn three_become_five_and_three_others() {
    let mut cluster = Plan::of(3).open_to_others().start().await;
    let load = ClientLoad::start(&cluster.addresses(), CLIENTS).await;

    assert_eq!([cluster.grow().await, cluster.grow().await], [4, 5]);
    let five = BTreeSet::from([1, 2, 3, 4, 5]);
    assert_eq!(cluster.voters().await, five);
    await_healthy(&cluster, &five).await;

    // The one that leads goes first.
    hand_over_to(&cluster, 1).await;
    assert_eq!(cluster.replace(1).await, 6);
    hand_over_to(&cluster, 4).await;
    assert_eq!(cluster.replace(2).await, 7);
    assert_eq!(cluster.voters().await, BTreeSet::from([3, 4, 5, 6, 7]));
    let before = cluster.leader().await.id;
    let _ = cluster.operate(&["step-down"]).await.expect(0);
    await_leader(&cluster, |leader| leader != before).await;

    hand_over_to(&cluster, 3).await;
    cluster.remove(3).await;
    cluster.remove(4).await;
    let three = BTreeSet::from([5, 6, 7]);
    assert_eq!(cluster.voters().await, three);
    await_healthy(&cluster, &three).await;
    let outcome = load.stop().await;
    check(&cluster, &outcome).await;

    // Whoever left has taken the id along.
    assert_eq!(cluster.grow().await, 8);
    assert_eq!(cluster.replace(8).await, 9);
}

#[tokio::test]
async fn the_only_node_of_a_cluster_is_replaced() {
    let mut cluster = Plan::of(1).open_to_others().start().await;
    let session = load::running_session(cluster.http()).await;
    assert_eq!(cluster.replace(1).await, 2);
    assert_eq!(cluster.voters().await, BTreeSet::from([2]));
    let _ = cluster.http().command(&session, "switch").await.expect(200);
}

async fn hand_over_to(cluster: &Cluster, node: u64) {
    if cluster.leader().await.id == node {
        return;
    }
    let _ = cluster.operate(&["transfer-leader", &node.to_string()]).await.expect(0);
    await_leader(cluster, |leader| leader == node).await;
}

async fn await_leader(cluster: &Cluster, wanted: impl Fn(u64) -> bool) {
    eventually(PATIENCE, "the wanted node leads", async || {
        let leader = cluster.leader().await.id;
        holds(wanted(leader), || format!("node {leader} leads"))
    })
    .await;
}

#[tokio::test]
async fn nobody_notices_that_all_nodes_are_restarted() {
    let cluster = Plan::of(3).start().await;
    let load = ClientLoad::start(&cluster.addresses(), CLIENTS).await;
    for node in &cluster.nodes {
        node.terminate();
        assert!(node.await_end().await.success());
        node.start();
        node.await_ready().await;
        cluster.await_caught_up(node, PATIENCE).await;
    }
    let outcome = load.stop().await;
    check(&cluster, &outcome).await;
    let gap = load::longest_gap(&outcome.tallies);
    assert!(gap < GAP_MAX, "{gap:?} without a switch");
}

#[tokio::test]
async fn no_more_is_removed_than_the_cluster_can_bear() {
    let mut cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await.id;
    let [dead, living] = [1, 2, 3].into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..]
    else {
        panic!("three nodes are two and the leader");
    };
    cluster.node(dead).kill();
    let all = cluster.voters().await;
    eventually(PATIENCE, "the loss is noticed", async || {
        let status = cluster.node(leader).http.get("/v1/cluster/status").await.json();
        holds(status["health"] == "DEGRADED", || status.to_string())
    })
    .await;

    let refused = cluster.operate(&["remove", &living.to_string()]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    // Two voters would be left, both of them needed, and one of them answers.
    let numbers = numbers_in(&refused);
    assert!(numbers.contains(&2) && numbers.contains(&1), "{refused:?}");
    assert_eq!(cluster.voters().await, all);

    // The dead one is no loss.
    let _ = cluster.operate(&["remove", &dead.to_string()]).await.expect(0);
    cluster.nodes.retain(|node| node.id != dead);
    let left = BTreeSet::from([leader, living]);
    assert_eq!(cluster.voters().await, left);
    assert_eq!(cluster.leader().await.id, leader);
    // It is gone already, which is what was asked for.
    let _ = cluster.operate(&["remove", &dead.to_string()]).await.expect(0);
    assert_eq!(cluster.voters().await, left);
}

/// The whole numbers in what it said to the person at the terminal.
fn numbers_in(printed: &Printed) -> BTreeSet<u64> {
    let words = printed.stderr.split(|character: char| !character.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}
