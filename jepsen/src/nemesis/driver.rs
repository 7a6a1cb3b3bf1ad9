//! Carries a schedule out, and writes down what came of it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Active, FaultOutcome, FaultRecord, Planned, Target, Trouble, clients, clock, disk, lifecycle,
    network, power, process, raft, squeeze,
};
use crate::{
    db::{cluster::Cluster, node::Node},
    history::op::{Event, Kind, Process},
};

/// A fault that takes longer than this to begin or to end is given up; the watchdog mends.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// Runs the schedule from now on; returns when every fault has ended. Cancelling ends faults early
/// and begins no more.
pub async fn run(
    cluster: Arc<Cluster>,
    schedule: Vec<Planned>,
    stop: CancellationToken,
    store: PathBuf,
) -> io::Result<Vec<FaultRecord>> {
    let began = Instant::now();
    let records = Arc::new(Mutex::new(Vec::new()));
    let mut under_way = JoinSet::new();
    let mut alone = false;
    for planned in schedule {
        let due = began + Duration::from_millis(planned.at_ms);
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = stop.cancelled() => break,
        }
        // The schedule leaves room; a fault that took long to begin or to end may still be there.
        if alone || !planned.overlaps() {
            while under_way.join_next().await.is_some() {}
        }
        alone = !planned.overlaps();
        let (cluster, records, stop) = (Arc::clone(&cluster), Arc::clone(&records), stop.clone());
        under_way.spawn(async move {
            let record = one(&cluster, planned, &stop).await;
            records.lock().await.push(record);
        });
    }
    while under_way.join_next().await.is_some() {}
    let records = std::mem::take(&mut *records.lock().await);
    write(&store, &records)?;
    Ok(records)
}

/// Writes `faults.jsonl`.
fn write(store: &Path, records: &[FaultRecord]) -> io::Result<()> {
    let mut file = File::create(store.join("faults.jsonl"))?;
    for record in records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.sync_all()
}

async fn one(cluster: &Arc<Cluster>, planned: Planned, stop: &CancellationToken) -> FaultRecord {
    let recorder = &cluster.recorder;
    let began_ns = recorder.now_ns();
    let beginning = tokio::time::timeout(STEP_WITHIN, begin(cluster, &planned)).await;
    let late = || FaultOutcome::indeterminate("it did not begin in time");
    let mut active = match beginning.unwrap_or_else(|_| Err(late())) {
        Ok(active) => active,
        Err(outcome) => {
            tell(cluster, &planned, "skip", json!({"outcome": outcome}));
            let (ended_ns, nodes) = (recorder.now_ns(), Vec::new());
            let (hit_leader, evidence) = (false, Value::Null);
            return FaultRecord {
                planned,
                began_ns,
                ended_ns,
                nodes,
                hit_leader,
                outcome,
                evidence,
            };
        }
    };
    let nodes: Vec<String> = active.nodes.iter().map(|node| node.name.clone()).collect();
    let hit_leader = active.hit_leader;
    let told = json!({"nodes": nodes, "evidence": active.evidence, "hit_leader": hit_leader});
    tell(cluster, &planned, "begin", told);
    // From here on it has begun: what it did to time to take effect is not part of it.
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(planned.for_ms)) => {}
        () = stop.cancelled() => {}
    }
    for task in active.tasks.drain(..) {
        task.abort();
        // It may be in the middle of something, which must not be undone before it is done.
        let _ = task.await;
    }
    active.gather();
    let ending = tokio::time::timeout(STEP_WITHIN, end(cluster, &planned, &mut active)).await;
    let outcome = ending.unwrap_or_else(|_| FaultOutcome::indeterminate("it did not end in time"));
    let (ended_ns, evidence) = (recorder.now_ns(), Value::Object(active.evidence));
    tell(
        cluster,
        &planned,
        "end",
        json!({"nodes": nodes, "outcome": outcome, "evidence": evidence}),
    );
    FaultRecord { planned, began_ns, ended_ns, nodes, hit_leader, outcome, evidence }
}

/// An event of the process `nemesis`.
fn tell(cluster: &Cluster, planned: &Planned, phase: &str, value: Value) {
    let mut value = value;
    value["id"] = json!(planned.id);
    value["phase"] = json!(phase);
    value["form"] = json!(planned.form);
    cluster.recorder.event(Event {
        index: 0,
        time: 0,
        process: Process::Nemesis,
        kind: Kind::Info,
        f: planned.trouble.as_str(),
        key: None,
        value,
        node: None,
        idem: None,
        status: None,
        error: None,
    });
}

async fn begin(cluster: &Arc<Cluster>, planned: &Planned) -> Result<Active, FaultOutcome> {
    let nodes = targets(cluster, planned).await;
    match planned.trouble {
        Trouble::Kill | Trouble::Stop | Trouble::Pause => {
            process::begin(cluster, planned, nodes).await
        }
        Trouble::Partition | Trouble::Packet | Trouble::ClientPartition => {
            network::begin(cluster, planned, nodes).await
        }
        Trouble::Clock | Trouble::Drift => clock::begin(cluster, planned, nodes).await,
        Trouble::Power => power::begin(cluster, planned, nodes).await,
        Trouble::Transfer | Trouble::Membership | Trouble::Snapshot => {
            raft::begin(cluster, planned, nodes).await
        }
        Trouble::RollingRestart | Trouble::Upgrade => {
            lifecycle::begin(cluster, planned, nodes).await
        }
        Trouble::Flood => clients::begin(cluster, planned, nodes).await,
        Trouble::Squeeze => squeeze::begin(cluster, planned, nodes).await,
        Trouble::LyingDisk
        | Trouble::DiskError
        | Trouble::DiskFull
        | Trouble::SlowDisk
        | Trouble::Corrupt
        | Trouble::DataLoss => disk::begin(cluster, planned, nodes).await,
    }
}

async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    match planned.trouble {
        Trouble::Kill | Trouble::Stop | Trouble::Pause => {
            process::end(cluster, planned, active).await
        }
        Trouble::Partition | Trouble::Packet | Trouble::ClientPartition => {
            network::end(cluster, planned, active).await
        }
        Trouble::Clock | Trouble::Drift => clock::end(cluster, planned, active).await,
        Trouble::Power => power::end(cluster, planned, active).await,
        Trouble::Transfer | Trouble::Membership | Trouble::Snapshot => {
            raft::end(cluster, planned, active).await
        }
        Trouble::RollingRestart | Trouble::Upgrade => {
            lifecycle::end(cluster, planned, active).await
        }
        Trouble::Flood => clients::end(planned, active).await,
        Trouble::Squeeze => squeeze::end(planned, active).await,
        Trouble::LyingDisk
        | Trouble::DiskError
        | Trouble::DiskFull
        | Trouble::SlowDisk
        | Trouble::Corrupt
        | Trouble::DataLoss => disk::end(cluster, planned, active).await,
    }
}

/// The nodes that a fault is aimed at: chosen now, by the plan's number.
async fn targets(cluster: &Cluster, planned: &Planned) -> Vec<Arc<Node>> {
    let mut nodes = cluster.members();
    nodes.shuffle(&mut ChaCha8Rng::seed_from_u64(planned.pick));
    let leader = cluster.leader().await.map(|node| node.id);
    let leads = |node: &Arc<Node>| Some(node.id) == leader;
    let (minority, majority) = (nodes.len().saturating_sub(1) / 2, nodes.len() / 2 + 1);
    match planned.target {
        Target::One => nodes.truncate(1),
        Target::Minority => nodes.truncate(minority.max(1)),
        Target::Majority => nodes.truncate(majority),
        Target::All => {}
        Target::Leader => nodes.retain(leads),
        Target::Followers => nodes.retain(|node| !leads(node)),
        Target::LeaderAndMinority => {
            nodes.sort_by_key(|node| !leads(node));
            nodes.truncate(majority);
        }
    }
    nodes
}

/// How the terms and exits of a cluster stood: two of them show what a fault did.
pub async fn terms(cluster: &Cluster) -> BTreeMap<String, u64> {
    let mut terms = BTreeMap::new();
    for node in cluster.members() {
        if let Some((200, status)) = node.ask("/v1/node").await {
            terms.insert(node.name.clone(), status["term"].as_u64().unwrap_or(0));
        }
    }
    terms
}
