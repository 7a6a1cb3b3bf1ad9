//! Nodes leave for good, join by a token, and take others' places, while clients work.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Planned, Target, look},
};

const REMOVE_FOLLOWER: &str = "remove-follower";
const REMOVE_LEADER: &str = "remove-leader";
const REPLACE: &str = "replace";
const GROW: &str = "grow";

pub(super) const FORMS: [Form; 4] = [
    Form { word: REMOVE_FOLLOWER, targets: &[Target::Followers], for_ms: (500, 4_000) },
    Form { word: REMOVE_LEADER, targets: &[Target::Leader], for_ms: (500, 4_000) },
    Form { word: REPLACE, targets: &[Target::One, Target::Leader], for_ms: (500, 3_000) },
    Form { word: GROW, targets: &[Target::All], for_ms: (1_000, 6_000) },
];

/// So many nodes come, and as many of all go.
const GROWS_BY: usize = 2;
/// With which a node ends that was removed.
const REMOVED: i32 = 78;
/// A node that hears nobody asks after five seconds, and then as often.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// A change is refused while another one is under way.
const TAKEN_WITHIN: Duration = Duration::from_secs(12);
const VOTES_WITHIN: Duration = Duration::from_secs(20);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const TRY_EVERY: Duration = Duration::from_millis(300);

const JOINED: &str = "joined";
const LEFT: &str = "left";
/// A change that could not be made, and why.
const FAILED: &str = "failed";

pub(super) async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let members = cluster.members();
    if members.len() != cluster.plan.nodes || members.iter().any(|node| !node.runs()) {
        return Err(FaultOutcome::skipped("not all nodes are there"));
    }
    let leader = look::await_leader(cluster, TRY_EVERY * 10).await;
    let leader = leader.ok_or_else(|| FaultOutcome::skipped("no node leads"))?;
    let chosen = nodes.first().cloned();
    let chosen = chosen.ok_or_else(|| FaultOutcome::skipped("the chosen node is not there"))?;
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
    // A change of the members is everybody's business.
    let mut active = Active { nodes: members, ..Active::default() };
    active.note("voters_before", json!(voters(cluster).await));
    for list in [JOINED, LEFT, FAILED] {
        active.note(list, json!([]));
    }
    match planned.form.as_str() {
        REPLACE => {
            active.hit_leader = chosen.id == leader.id;
            // It goes when its successor has caught up.
            chosen.expect_end(&planned.trouble.as_str(), &[REMOVED]);
            active.note("replaced", json!(chosen.name));
            join(cluster, &mut active, Some(&chosen), &mut random).await;
        }
        GROW => {
            for _ in 0..GROWS_BY {
                join(cluster, &mut active, None, &mut random).await;
            }
        }
        _ => {
            active.hit_leader = chosen.id == leader.id;
            remove(cluster, planned, &mut active, (&chosen, &mut random)).await;
        }
    }
    Ok(active)
}

/// The cluster is full again: as many nodes as at the beginning, and all of them vote.
pub(super) async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick.wrapping_add(1));
    let replaced = active.evidence.get("replaced").and_then(Value::as_str);
    let replaced = cluster.members().into_iter().find(|node| Some(node.name.as_str()) == replaced);
    if let Some(old) = replaced {
        await_replacement(cluster, &old, active).await;
    }
    while cluster.members().len() < cluster.plan.nodes && is_empty(active, FAILED) {
        join(cluster, active, None, &mut random).await;
    }
    while cluster.plan.nodes < cluster.members().len() && is_empty(active, FAILED) {
        let mut members = cluster.members();
        members.shuffle(&mut random);
        let Some(node) = members.first() else { break };
        remove(cluster, planned, active, (node, &mut random)).await;
    }
    let wanted: BTreeSet<u64> = cluster.members().iter().map(|node| node.id).collect();
    let after = await_voters(cluster, &wanted).await;
    active.note("voters_after", json!(after));
    if let Some(failed) = first(active, FAILED) {
        return FaultOutcome::Unseen(failed.to_string());
    }
    if after != wanted {
        return FaultOutcome::Unseen(format!("{wanted:?} should vote, and {after:?} do"));
    }
    for node in cluster.members() {
        if !look::await_caught_up(cluster, &node, CAUGHT_UP_WITHIN).await {
            return FaultOutcome::Unseen(format!("{} did not catch up", node.name));
        }
    }
    let changed = !is_empty(active, JOINED) && !is_empty(active, LEFT);
    FaultOutcome::seen(changed, "nobody joined and left")
}

/// Lets a new node in, which votes once it has caught up.
async fn join(
    cluster: &Cluster,
    active: &mut Active,
    replaced: Option<&Node>,
    random: &mut ChaCha8Rng,
) {
    let began = Instant::now();
    let besides: Vec<u64> = replaced.map(|old| old.id).into_iter().collect();
    let Some(sponsor) = await_ready(cluster, &besides, random).await else {
        return push(active, FAILED, json!("no node is ready to let one in"));
    };
    match cluster.join(&sponsor, replaced.map(|old| old.id)).await {
        Ok(node) => {
            // One that takes another's place votes when that one goes.
            let votes = replaced.is_some() || await_voter(cluster, node.id).await;
            let told = json!({
                "node": node.name,
                "id": node.id,
                "sponsor": sponsor.name,
                "votes": votes,
                "took_ms": millis(began),
            });
            push(active, JOINED, told);
        }
        Err(error) => push(active, FAILED, json!(error.to_string())),
    }
}

/// Takes a node out for good.
async fn remove(
    cluster: &Cluster,
    planned: &Planned,
    active: &mut Active,
    (node, random): (&Node, &mut ChaCha8Rng),
) {
    node.expect_end(&planned.trouble.as_str(), &[REMOVED]);
    let (began, id) = (Instant::now(), node.id.to_string());
    loop {
        let Err(error) = command(cluster, node, &id, random).await else { break };
        if TAKEN_WITHIN <= began.elapsed() {
            node.expect_life();
            return push(active, FAILED, json!(error.to_string()));
        }
        // Sent again, it finds it done, where it was done.
        sleep(TRY_EVERY).await;
    }
    leave(node, active, began).await;
}

async fn command(
    cluster: &Cluster,
    node: &Node,
    id: &str,
    random: &mut ChaCha8Rng,
) -> io::Result<()> {
    let at = look::anybody_ready(cluster, &[node.id], random).await;
    let at = at.ok_or_else(|| io::Error::other("no other node is ready"))?;
    cluster.operate(&at, &["cluster", "remove", id, "--accept-no-spare"]).await.map(|_| ())
}

/// Waits for a removed node to end by itself.
async fn leave(node: &Node, active: &mut Active, since: Instant) {
    let by_itself = node.await_end(ENDS_WITHIN).await;
    if !by_itself {
        // It was to end with another code than it does now: the judge sees that.
        node.signal(rustix::process::Signal::TERM);
        node.await_end(ENDS_WITHIN).await;
    }
    node.retire();
    let code = node.exits().last().and_then(|exit| exit.code);
    let told = json!({
        "node": node.name,
        "id": node.id,
        "ended_by_itself": by_itself,
        "code": code,
        "took_ms": millis(since),
    });
    push(active, LEFT, told);
}

/// Waits until its successor has caught up and the old one has gone.
async fn await_replacement(cluster: &Cluster, old: &Node, active: &mut Active) {
    let began = Instant::now();
    let members = cluster.members();
    let wanted = members.iter().map(|node| node.id).filter(|id| *id != old.id).collect();
    if is_empty(active, JOINED) || await_voters(cluster, &wanted).await != wanted {
        old.expect_life();
        return push(active, FAILED, json!(format!("{} was not replaced", old.name)));
    }
    leave(old, active, began).await;
}

async fn await_ready(
    cluster: &Cluster,
    besides: &[u64],
    random: &mut ChaCha8Rng,
) -> Option<Arc<Node>> {
    let deadline = Instant::now() + TAKEN_WITHIN;
    loop {
        let ready = look::anybody_ready(cluster, besides, random).await;
        if ready.is_some() || deadline <= Instant::now() {
            return ready;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn await_voter(cluster: &Cluster, node: u64) -> bool {
    let deadline = Instant::now() + VOTES_WITHIN;
    while !voters(cluster).await.contains(&node) {
        if deadline <= Instant::now() {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

/// Who votes, once it is as wanted or it takes too long.
async fn await_voters(cluster: &Cluster, wanted: &BTreeSet<u64>) -> BTreeSet<u64> {
    let deadline = Instant::now() + VOTES_WITHIN;
    loop {
        let voters = voters(cluster).await;
        if voters == *wanted || deadline <= Instant::now() {
            return voters;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Who votes, as the leader tells.
async fn voters(cluster: &Cluster) -> BTreeSet<u64> {
    let Some(leader) = cluster.leader().await else { return BTreeSet::new() };
    look::status(&leader).await.map(|status| look::voters_of(&status)).unwrap_or_default()
}

fn push(active: &mut Active, list: &str, value: Value) {
    if let Some(Value::Array(list)) = active.evidence.get_mut(list) {
        list.push(value);
    }
}

fn first<'a>(active: &'a Active, list: &str) -> Option<&'a Value> {
    active.evidence.get(list)?.as_array()?.first()
}

fn is_empty(active: &Active, list: &str) -> bool {
    first(active, list).is_none()
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
