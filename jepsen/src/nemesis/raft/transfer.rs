//! The leadership is handed over while clients work.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Planned, Seen, Target, look},
};

const LEADER_WITHIN: Duration = Duration::from_secs(3);
/// The others have heard of a new leader by then, however busy the machine is.
const SEEN_WITHIN: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const STORM_EVERY_MS: std::ops::RangeInclusive<u64> = 1_000..=2_000;

const TRANSFER: &str = "transfer";
const STEP_DOWN: &str = "step-down";
const STORM: &str = "transfer-storm";
const COMMANDS: &str = "commands";

const LEADER: &[Target] = &[Target::Leader];

pub(super) const FORMS: [Form; 3] = [
    Form { word: TRANSFER, targets: LEADER, for_ms: (1_000, 3_000) },
    Form { word: STORM, targets: LEADER, for_ms: (6_000, 15_000) },
    Form { word: STEP_DOWN, targets: LEADER, for_ms: (1_000, 3_000) },
];

/// What an operator types, and where.
struct Order {
    /// Any node takes it to the leader.
    at: Arc<Node>,
    /// `None` where it is left to the leader who is next.
    to: Option<u64>,
}

pub(super) async fn begin(
    cluster: &Arc<Cluster>,
    planned: &Planned,
) -> Result<Active, FaultOutcome> {
    let leader = look::await_leader(cluster, LEADER_WITHIN).await;
    let leader = leader.ok_or_else(|| FaultOutcome::skipped("no node leads"))?;
    let before = look::position(&leader).await;
    let before = before.ok_or_else(|| FaultOutcome::skipped("the leader does not answer"))?;
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
    let mut active = Active::on(cluster, vec![leader]).await;
    active.hit_leader = true;
    active.note("term_before", before.term);
    active.note("leader_before", before.leader);
    active.note("at_ns", cluster.recorder.now_ns());
    if planned.form == STORM {
        let (cluster, seen) = (Arc::clone(cluster), active.seen.clone());
        active.tasks.push(tokio::spawn(storm(cluster, seen, random)));
        return Ok(active);
    }
    let order = order(cluster, planned.form != STEP_DOWN, &mut random).await;
    let order = order.ok_or_else(|| FaultOutcome::skipped("nobody else is there to lead"))?;
    let told = give(cluster, &order).await;
    active.note(COMMANDS, json!([told]));
    Ok(active)
}

pub(super) async fn end(cluster: &Cluster, active: &mut Active) -> FaultOutcome {
    let before = active.evidence.get("term_before").and_then(Value::as_u64).unwrap_or(0);
    let deadline = Instant::now() + SEEN_WITHIN;
    let after = loop {
        let after = leadership(cluster).await;
        let moved = after.is_some_and(|(term, _)| before < term);
        if moved || deadline <= Instant::now() {
            break after;
        }
        sleep(LOOK_EVERY).await;
    };
    let Some((term, leader)) = after else {
        return FaultOutcome::Unseen(String::from("no node leads any more"));
    };
    active.note("term_after", term);
    active.note("leader_after", leader);
    let done = active.evidence.get(COMMANDS).and_then(Value::as_array).map_or(0, |commands| {
        commands.iter().filter(|command| command.get("refused").is_none()).count()
    });
    if done == 0 {
        return FaultOutcome::Unseen(String::from("every command was refused"));
    }
    FaultOutcome::seen(before < term, "the term is the same as before")
}

/// Hands the leadership on and on.
async fn storm(cluster: Arc<Cluster>, seen: Seen, mut random: ChaCha8Rng) {
    loop {
        if let Some(order) = order(&cluster, true, &mut random).await {
            let told = give(&cluster, &order).await;
            seen.list(COMMANDS, told);
        }
        sleep(Duration::from_millis(random.random_range(STORM_EVERY_MS))).await;
    }
}

/// The term and the leader of the newest term.
async fn leadership(cluster: &Cluster) -> Option<(u64, u64)> {
    let leader = cluster.leader().await?;
    let position = look::position(&leader).await?;
    Some((position.term, leader.id))
}

/// To a voter that does not lead, or to nobody in particular.
async fn order(cluster: &Cluster, names: bool, random: &mut ChaCha8Rng) -> Option<Order> {
    let leader = cluster.leader().await?;
    let at = look::anybody_ready(cluster, &[], random).await?;
    if !names {
        return Some(Order { at, to: None });
    }
    let voters = look::voters_of(&look::status(&leader).await?);
    let others: Vec<u64> = voters.into_iter().filter(|voter| *voter != leader.id).collect();
    others.choose(random).map(|to| Order { at, to: Some(*to) })
}

/// Types it; what came of it.
async fn give(cluster: &Cluster, order: &Order) -> Value {
    let at_ns = cluster.recorder.now_ns();
    let result = match order.to {
        Some(to) => {
            cluster.operate(&order.at, &["cluster", "transfer-leader", &to.to_string()]).await
        }
        None => cluster.operate(&order.at, &["cluster", "step-down"]).await,
    };
    let mut told = json!({
        "at_ns": at_ns,
        "answered_ns": cluster.recorder.now_ns(),
        "typed_at": order.at.name,
        "to": order.to,
    });
    if let Err(error) = result {
        told["refused"] = json!(error.to_string());
    }
    told
}
