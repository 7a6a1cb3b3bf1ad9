//! The client crate against real nodes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use synckairos_client::{
    client::{Client, Config, Readiness},
    error::ErrorKind,
    follow::{FollowEvent, Subscription},
    requests::new_session,
};
use synckairos_protocol::{
    error::{Effect, Kind},
    ids::{ParticipantId, SessionId},
    session::{NewSession, Status, SyncMode},
    time::Millis,
    wire::create::SwitchBody,
};
use synckairos_tests::{
    cluster::{Cluster, Plan},
    node::Node,
    sessions::new_id,
    wait::{PATIENCE, eventually, holds},
};
use tokio::time::timeout;

/// A client that asks `first` first.
fn client_of(cluster: &Cluster, first: &Node) -> Client {
    let rest = cluster.nodes.iter().filter(|node| node.id != first.id);
    let nodes = std::iter::once(first).chain(rest).map(|node| format!("http://{}", node.address));
    Client::new(Config::new(nodes)).unwrap()
}

fn game() -> (SessionId, [ParticipantId; 2], NewSession) {
    let id: SessionId = new_id().parse().unwrap();
    let players: [ParticipantId; 2] = [new_id().parse().unwrap(), new_id().parse().unwrap()];
    let bank = Millis::new(60_000);
    let new = new_session(id, SyncMode::PerParticipant, &players.map(|player| (player, bank)));
    (id, players, new)
}

#[tokio::test]
async fn every_route() {
    let cluster = Plan::of(3).start().await;
    let client = client_of(&cluster, &cluster.nodes[0]);
    let (id, [white, black], new) = game();
    let created = client.create(&new).await.unwrap();
    assert_eq!(created.status, Status::Pending);
    assert_eq!(client.create(&new).await.unwrap(), created, "the same again");
    let started = client.start(id, Some(1)).await.unwrap();
    assert_eq!(started.active_participant_id, Some(white));
    let switched = client.switch(id, SwitchBody::default()).await.unwrap();
    assert_eq!(switched.active_participant_id, Some(black));
    assert_eq!(switched.version, 3);
    assert_eq!(client.pause(id, Some(3)).await.unwrap().status, Status::Paused);
    assert_eq!(client.resume(id, None).await.unwrap().status, Status::Running);
    let read = client.get(id).await.unwrap();
    assert_eq!(read.version, 5);
    assert_eq!(client.complete(id, None).await.unwrap().status, Status::Completed);
    client.delete(id).await.unwrap();
    let gone = client.get(id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Service(Kind::SessionNotFound));
    assert_eq!(gone.effect(), Effect::None);

    let clock = client.clock(5).await.unwrap();
    let apart =
        clock.now().unix_millis().abs_diff(client.time().await.unwrap().timestamp_ms.unix_millis());
    assert!(apart < 1_000, "{apart} ms");
    let mut roles = BTreeMap::new();
    for node in client.nodes() {
        node.health().await.unwrap();
        assert_eq!(node.ready().await.unwrap(), Readiness::Ready);
        *roles.entry(node.info().await.unwrap().role).or_insert(0) += 1;
    }
    assert_eq!(roles, BTreeMap::from([(String::from("follower"), 2), (String::from("leader"), 1)]));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let cluster = Plan::of(1).start().await;
    let client = client_of(&cluster, &cluster.nodes[0]);
    let (id, _, new) = game();
    client.create(&new).await.unwrap();
    let early = client.switch(id, SwitchBody::default()).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Service(Kind::InvalidSessionState));
    assert_eq!(early.attempts(), 1);
    client.start(id, None).await.unwrap();
    let late = client.pause(id, Some(1)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Service(Kind::ConcurrentModification));
    let twice = client.create(&new).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Service(Kind::SessionExists));
}

#[tokio::test]
async fn the_death_of_a_node_is_not_the_callers_business() {
    let cluster = Plan::of(3).start().await;
    for round in 0..2 {
        let leader = cluster.leader().await;
        let client = client_of(&cluster, leader);
        let (id, _, new) = game();
        client.create(&new).await.unwrap();
        client.start(id, None).await.unwrap();
        leader.kill();
        let read = client.get(id).await.unwrap();
        assert_eq!(read.version, 2, "round {round}");
        let switched = client.switch(id, SwitchBody::default()).await.unwrap();
        assert_eq!(switched.version, 3);
        leader.start();
        leader.await_ready().await;
        cluster.await_caught_up(leader, PATIENCE).await;
    }
}

async fn next(subscription: &mut Subscription) -> FollowEvent {
    timeout(PATIENCE, subscription.next())
        .await
        .expect("an event comes")
        .expect("the stream goes on")
}

/// The next version that is told, whatever connections come and go meanwhile.
async fn next_version(subscription: &mut Subscription) -> u64 {
    loop {
        if let FollowEvent::Updated(update) = next(subscription).await {
            return update.version;
        }
    }
}

#[tokio::test]
async fn a_follower_goes_on_at_another_node() {
    let cluster = Plan::of(3).start().await;
    let node = cluster.leader().await;
    let client = client_of(&cluster, node);
    let (id, _, new) = game();
    let mut subscription = client.follow(id);
    let connected = next(&mut subscription).await;
    let url = format!("http://{}", node.address);
    assert_eq!(connected, FollowEvent::Connected { node: url.clone() });
    assert_eq!(next(&mut subscription).await, FollowEvent::Absent);
    client.create(&new).await.unwrap();
    assert_eq!(next_version(&mut subscription).await, 1);
    client.start(id, None).await.unwrap();
    assert_eq!(next_version(&mut subscription).await, 2);

    node.kill();
    assert!(matches!(next(&mut subscription).await,
        FollowEvent::Disconnected { node, .. } if node == url));
    let other = eventually(PATIENCE, "another node takes over", async || {
        let event = next(&mut subscription).await;
        if let FollowEvent::Connected { node } = &event
            && *node != url
        {
            return Ok(node.clone());
        }
        Err(format!("{event:?}"))
    })
    .await;
    assert_ne!(other, url);
    // A switch sent to a node that does not know of the death yet would have an unknown effect.
    let rest: Vec<u64> =
        cluster.nodes.iter().map(|other| other.id).filter(|id| *id != node.id).collect();
    cluster.leader_of(&rest).await;
    let mut told = 2;
    for version in 3..=12 {
        client.switch(id, SwitchBody::default()).await.unwrap();
        while told < version {
            let next = next_version(&mut subscription).await;
            assert_eq!(next, told + 1, "every version once");
            told = next;
        }
    }
    client.delete(id).await.unwrap();
    let end = eventually(PATIENCE, "the end is told", async || {
        let event = next(&mut subscription).await;
        holds(matches!(event, FollowEvent::Deleted { .. }), || format!("{event:?}"))
    });
    end.await;
    assert_eq!(subscription.next().await, None);
}

#[tokio::test]
async fn one_node_is_enough_to_begin_with() {
    let cluster = Plan::of(3).start().await;
    let first = cluster.leader().await;
    let client = Client::new(Config::new([format!("http://{}", first.address)])).unwrap();
    let (id, _, new) = game();
    client.create(&new).await.unwrap();
    let mut subscription = client.follow(id);
    assert_eq!(next_version(&mut subscription).await, 1);
    eventually(PATIENCE, "the others are learned", async || {
        let known = client.nodes().count();
        holds(known == 3, || format!("{known} nodes are known"))
    })
    .await;
    for node in client.nodes() {
        node.health().await.unwrap();
    }
    first.kill();
    assert_eq!(client.start(id, None).await.unwrap().version, 2);
    assert_eq!(next_version(&mut subscription).await, 2);
}
