//! Runs a test: set-up, the main phase with its faults, healing, quiet, and the last questions.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ending, monitor,
    observers::Observers,
    plan::{Plan, Workload},
    run::Ending,
    worker::{Shared, Worker},
};
use crate::{
    client::subscriber::{Addresses, Manners},
    db::cluster::Cluster,
    generator::board::Board,
    history::recorder::Recorder,
    nemesis::driver,
    workload::{Player, crate_client::CrateClient},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// After the last fault everything must be well again within this, without anybody's help.
const RECOVERY_WITHIN: Duration = Duration::from_secs(60);
/// Clients go on for so long after that, so that it is seen whether the cluster serves.
const LIVELY_FOR: Duration = Duration::from_secs(4);
/// What was under way when clients were told to stop ends within this.
const CLIENTS_STOP_WITHIN: Duration = Duration::from_secs(15);
const OBSERVERS_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Subscribers of the workload `stream`, beside one observer on each node.
const READERS: usize = 6;

/// Why there is no history to judge. It says nothing about the program under test.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the cluster did not get ready: {0}")]
    NeverReady(String),
}

/// Runs `plan` and leaves its history in `store`.
///
/// # Errors
/// [`HarnessError`] where there is nothing to judge.
pub async fn run(plan: &Plan, store: &Path, stop: CancellationToken) -> Result<(), HarnessError> {
    fs::create_dir_all(store)?;
    fs::write(store.join("test.json"), serde_json::to_vec_pretty(plan).map_err(io::Error::from)?)?;
    let recorder = Recorder::new(store)?;
    let cluster = Cluster::prepare(plan, &store.join("nodes"), recorder.clone()).await?;
    let cluster = Arc::new(cluster);
    let result = live(plan, store, &cluster, stop).await;
    if let Err(error) = cluster.network.heal_all().await {
        tracing::warn!(%error, "a fault of the network stays, and ends with the runner");
    }
    cluster.tear_down("teardown").await;
    let mut ending = result?;
    ending.exits = cluster.exits();
    let text = serde_json::to_vec_pretty(&ending).map_err(io::Error::from)?;
    fs::write(store.join("ending.json"), text)?;
    recorder.finish()?;
    Ok(())
}

async fn live(
    plan: &Plan,
    store: &Path,
    cluster: &Arc<Cluster>,
    stop: CancellationToken,
) -> Result<Ending, HarnessError> {
    cluster.start_all()?;
    cluster.await_agreement(READY_WITHIN).await.map_err(HarnessError::NeverReady)?;
    let (calm, monitor_stop) = (CancellationToken::new(), CancellationToken::new());
    let monitor = tokio::spawn(monitor::run(Arc::clone(cluster), monitor_stop.clone()));
    let shared = Arc::new(share(plan, cluster));
    let clients = start_clients(plan, &shared, &calm);

    let length = Duration::from_secs(plan.time_limit_s);
    let until = Instant::now() + length;
    let faults =
        driver::run(Arc::clone(cluster), plan.schedule.clone(), stop.clone(), store.to_owned());
    let faults = tokio::spawn(faults);
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        () = stop.cancelled() => {}
    }
    faults.await.map_err(io::Error::other)??;

    let mut ending = heal(cluster).await?;
    tokio::time::sleep(LIVELY_FOR).await;
    calm.cancel();
    clients.close();
    // Whoever still waits for an answer then leaves an open operation behind.
    let _ = tokio::time::timeout(CLIENTS_STOP_WITHIN, clients.wait()).await;
    ending.quiet_ns = cluster.recorder.now_ns();

    let sessions = shared.board.all();
    if ending.recovered {
        match ending::collect(cluster, &sessions).await {
            Ok(nodes) => ending.nodes = nodes,
            Err(error) => {
                ending.recovered = false;
                ending.trouble = Some(error.to_string());
            }
        }
        await_observers(&shared.observers, &ending).await;
        if let Err(error) = ending::export_all(cluster, &mut ending.nodes).await {
            ending.trouble = Some(error.to_string());
        }
    }
    // What was lost on its last way is told from what had no time to come.
    tokio::time::sleep(LIVELY_FOR).await;
    shared.observers.stop().await;
    monitor_stop.cancel();
    let _ = monitor.await;
    Ok(ending)
}

/// What all clients and subscribers share.
fn share(plan: &Plan, cluster: &Arc<Cluster>) -> Shared {
    let known = Arc::clone(cluster);
    let addresses: Addresses = Arc::new(move || known.addresses());
    let observers = Observers::new(Arc::clone(&addresses), cluster.recorder.clone(), plan.seed);
    for home in 0..plan.nodes {
        observers.add(&format!("observer-n{}", home + 1), home, Manners::STEADY);
    }
    if matches!(plan.workload, Workload::Stream | Workload::Soak) {
        for reader in 0..READERS {
            let wanders = reader % 2 == 0;
            let slow = reader % 3 == 2;
            let manners = Manners {
                cut_every: Some(Duration::from_millis(if wanders { 1_500 } else { 4_000 })),
                read_every: slow.then_some(Duration::from_millis(15)),
                wanders,
            };
            observers.add(&format!("reader-{reader}"), reader, manners);
        }
    }
    Shared {
        recorder: cluster.recorder.clone(),
        board: Board::default(),
        observers,
        addresses,
        concurrency: plan.concurrency,
        pause: Duration::from_secs_f64(f64::from(plan.concurrency) / plan.rate.max(0.1)),
        seed: plan.seed,
    }
}

fn start_clients(plan: &Plan, shared: &Arc<Shared>, calm: &CancellationToken) -> TaskTracker {
    let clients = TaskTracker::new();
    for number in 0..plan.concurrency {
        let player = Player::new(plan.workload, number);
        let addresses = (shared.addresses)().into_iter().map(|(_, address)| address.to_string());
        let crate_client = (plan.workload == Workload::Client)
            .then(|| CrateClient::new(addresses))
            .and_then(Result::ok);
        let worker = Worker::new(Arc::clone(shared), number, player, crate_client);
        clients.spawn(worker.run(calm.clone()));
    }
    clients
}

/// Takes every fault away, starts who is down, and waits for the cluster to be well by itself.
async fn heal(cluster: &Cluster) -> Result<Ending, HarnessError> {
    cluster.network.heal_all().await?;
    for node in cluster.members() {
        node.signal(rustix::process::Signal::CONT);
        node.set_clock(0, 0)?;
    }
    cluster.start_all()?;
    let mut ending = Ending { healed_ns: cluster.recorder.now_ns(), ..Ending::default() };
    match cluster.await_agreement(RECOVERY_WITHIN).await {
        Ok(()) => ending.recovered = true,
        Err(missing) => ending.trouble = Some(missing),
    }
    ending.ready_ns = cluster.recorder.now_ns();
    Ok(ending)
}

/// Until steady observers have seen the last version of every session, or it takes too long.
async fn await_observers(observers: &Observers, ending: &Ending) {
    let Some(node) = ending.nodes.first() else { return };
    let deadline = Instant::now() + OBSERVERS_WITHIN;
    loop {
        let seen = node.sessions.iter().all(|(session, state)| {
            let version = state["version"].as_u64();
            version.is_none_or(|version| observers.have_seen(session, version))
        });
        if seen || deadline <= Instant::now() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
