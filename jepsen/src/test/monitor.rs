//! Asks every node how it is, again and again, past every fault.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::run::Sample;
use crate::{
    client::http::{Question, Wire},
    db::{cluster::Cluster, node::Node},
};

const EVERY: Duration = Duration::from_millis(200);
const ASK_WITHIN: Duration = Duration::from_millis(400);

/// Samples all nodes until it is told to stop; nodes that join meanwhile, too.
pub async fn run(cluster: Arc<Cluster>, stop: CancellationToken) {
    let mut wires: Vec<(Arc<Node>, Wire)> = Vec::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        for node in cluster.members() {
            if !wires.iter().any(|(known, _)| known.name == node.name) {
                let wire = Wire::new(node.place.control);
                wires.push((node, wire));
            }
        }
        wires.retain(|(node, _)| !node.is_retired());
        let questions = wires.iter_mut().map(|(node, wire)| sample(&cluster, node, wire));
        for sample in futures_util::future::join_all(questions).await {
            cluster.recorder.sample(&sample);
        }
    }
}

async fn sample(cluster: &Cluster, node: &Node, wire: &mut Wire) -> Sample {
    let recorder = &cluster.recorder;
    let place = wire.ask(&Question::get("/v1/node"), ASK_WITHIN).await;
    let asked_ns = recorder.now_ns();
    let shown = match &place {
        Ok(_) => wire.ask(&Question::get("/v1/time"), ASK_WITHIN).await,
        Err(broken) => Err(*broken),
    };
    let time = recorder.now_ns();
    let mut sample = Sample {
        time,
        node: node.name.clone(),
        answered: false,
        role: String::new(),
        term: 0,
        leader: None,
        applied: 0,
        cluster_time_ms: 0,
        asked_ns,
    };
    if let (Ok(place), Ok(shown)) = (place, shown) {
        let body = &place.body;
        sample.answered = true;
        body["role"].as_str().unwrap_or_default().clone_into(&mut sample.role);
        sample.term = body["term"].as_u64().unwrap_or(0);
        sample.leader = body["leader_id"].as_u64();
        sample.applied = body["applied"].as_u64().unwrap_or(0);
        sample.cluster_time_ms = shown.body["timestamp_ms"].as_u64().unwrap_or(0);
    }
    sample
}
