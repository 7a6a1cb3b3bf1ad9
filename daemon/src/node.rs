//! One node: what it is made of, in which order it starts, and how it stops.

mod error;
mod founding;
mod stop;
mod watch;

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use openraft::async_runtime::WatchReceiver;
use synckairos_raft_store::{
    AppliedEvent, Closed, Identity, LogStore, Opened, Options, StateStore, Store,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch as channel},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    admission::Limits,
    config::Config,
    disk::{self, Disk},
    http::{self, AppState},
    pki::{
        ClusterId, NodeName,
        ca::ClusterCa,
        identity::{IdentityFiles, PeerIdentity},
    },
    push::{Hub, Replays},
    raft::{
        Raft, clock::ClusterClock, endpoint::PeerEndpoint, listener, network::Network,
        peers::Peers, service::Unfit, standing::Standing,
    },
    sessions::{self, Sessions},
    telemetry::{metrics::Metrics, sampler},
};
use watch::{Parts, Watched};

pub(crate) use error::NodeError;

/// Applied entries that may wait for the push hub before applying waits for it.
const APPLIED_QUEUE_MAX: usize = 1_024;

/// Runs a node until SIGTERM, SIGINT or a failure that it must not outlive.
pub(crate) async fn run(config: Config) -> Result<(), NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signals)?;
    let mut store = None;
    let mut node = match Node::start(config, &mut store).await {
        Ok(node) => node,
        Err(failure) => {
            stop::await_closed(store).await;
            return Err(failure);
        }
    };
    let result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        failure = node.failed() => Err(failure),
    };
    match result {
        Ok(()) => {
            info!("stopping");
            node.stop(store).await
        }
        Err(removed @ NodeError::Removed { .. }) => {
            // Whoever waits for an answer still gets it.
            node.stop(store).await?;
            Err(removed)
        }
        Err(failure) => {
            error!(error = %failure, "ending at once");
            node.abandon(store).await;
            Err(failure)
        }
    }
}

struct Node {
    raft: Raft,
    sessions: Sessions,
    peers: Peers,
    endpoint: PeerEndpoint,
    /// Cancelled first: no new requests.
    stopping: CancellationToken,
    /// Cancelled last: peers are still answered while clients are not.
    ended: CancellationToken,
    tasks: JoinSet<()>,
    peer_port: tokio::task::JoinHandle<()>,
    http: tokio::task::JoinHandle<()>,
    fatal: channel::Receiver<Option<String>>,
    unfit: channel::Receiver<Option<Unfit>>,
    data_dir: PathBuf,
}

impl Node {
    /// `store` tells when the store is closed, from when it is open on, whatever comes of the rest.
    async fn start(config: Config, store: &mut Option<Closed>) -> Result<Self, NodeError> {
        let engine = config.raft.to_engine(&config.cluster.id)?;
        let disk = Disk::open(&config.node.data_dir, &config.disk)?;
        // Ports first: a second process on the same ports must not touch the data.
        let Ports { listener, endpoint, certificate_expires, authority } = bind(&config).await?;
        let (mut tasks, metrics, clock) = (JoinSet::new(), Metrics::new(), ClusterClock::default());
        let (sink, changes) = mpsc::channel(APPLIED_QUEUE_MAX);
        let Opened { log, state, applied, admission, inbox, fatal, closed } =
            open_store(&config, sink)?;
        *store = Some(closed);

        // Before Raft: it applies again what the state has lost, and waits while nobody listens.
        let hub = start_hub(changes, &clock, &metrics, &mut tasks);
        let peers = Peers::new(endpoint.clone(), clock.clone());
        let (standing, storage) = (Standing::new(admission), (log.clone(), state));
        let raft = start_engine(&config, engine, (&peers, &standing), storage).await?;
        let (stopping, ended) = (CancellationToken::new(), CancellationToken::new());
        let parts = sessions::Parts {
            raft: raft.clone(),
            applied: applied.clone(),
            log: log.clone(),
            clock: clock.clone(),
            peers: peers.clone(),
            disk: disk.clone(),
            metrics: metrics.clone(),
            settings: config.sessions.clone(),
            stopping: ended.clone(),
        };
        let sessions = Sessions::start(parts, &mut tasks);
        let parts = Parts {
            raft: raft.clone(),
            standing,
            sessions: sessions.clone(),
            applied,
            clock: clock.clone(),
            peers: peers.clone(),
            disk,
            metrics: metrics.clone(),
            certificate_expires,
            authority,
            ended: ended.clone(),
            stopping: stopping.clone(),
        };
        let Watched { survey, service, unfit } = parts.watch(&config, inbox, &mut tasks)?;
        let peer_port = tokio::spawn(listener::run(endpoint.clone(), service, ended.clone()));
        tasks.spawn(sampler::run(metrics.clone(), sessions.clone(), clock.clone(), log));
        let state = AppState {
            sessions: sessions.clone(),
            survey,
            clock,
            hub,
            replays: Replays::default(),
            metrics,
            limits: Limits::new(&config.http),
            settings: config.http.clone(),
        };
        let http = tokio::spawn(http::serve(listener, state, stopping.clone()));
        announce(&config);
        Ok(Self {
            raft,
            sessions,
            peers,
            endpoint,
            stopping,
            ended,
            tasks,
            peer_port,
            http,
            fatal,
            unfit,
            data_dir: config.node.data_dir,
        })
    }

    /// What the store or the engine says when it cannot go on.
    async fn failed(&mut self) -> NodeError {
        tokio::select! {
            biased;
            raised = self.fatal.wait_for(Option::is_some) => {
                let reason = raised.map_or(None, |reason| reason.clone());
                let reason = reason.unwrap_or_else(|| String::from("its writer ended"));
                if disk::is_full(&reason) {
                    NodeError::DiskFull { data_dir: self.data_dir.clone(), reason }
                } else {
                    NodeError::Store(reason)
                }
            }
            reason = engine_failure(&self.raft) => NodeError::Engine(reason),
            () = self.peers.removed().noted() => {
                NodeError::Removed { data_dir: self.data_dir.clone() }
            }
            Ok(unfit) = self.unfit.wait_for(Option::is_some) => match unfit.clone() {
                Some(Unfit::LogLost(what)) => {
                    NodeError::LogLost { what, data_dir: self.data_dir.clone() }
                }
                Some(Unfit::Unreadable(reason)) => NodeError::Outdated(reason),
                None => NodeError::Outdated(String::new()),
            },
        }
    }
}

fn announce(config: &Config) {
    info!(node = config.node.id, cluster = config.cluster.id, http = %config.http.listen,
        peer = %config.peer.listen, version = env!("CARGO_PKG_VERSION"), "started");
}

async fn start_engine(
    config: &Config,
    engine: openraft::Config,
    (peers, standing): (&Peers, &Standing),
    (log, state): (LogStore, StateStore),
) -> Result<Raft, NodeError> {
    let network = Network::new(peers.clone(), standing.clone());
    let raft = Raft::new(config.node.id, engine.into(), network, log, state).await;
    raft.map_err(|error| NodeError::Raft(error.to_string()))
}

fn start_hub(
    changes: mpsc::Receiver<AppliedEvent>,
    clock: &ClusterClock,
    metrics: &Metrics,
    tasks: &mut JoinSet<()>,
) -> Hub {
    let clock = clock.clone();
    let (hub, task) = Hub::new(changes, Arc::new(move || clock.estimate()), metrics.clone());
    tasks.spawn(task);
    hub
}

/// Waits until the engine has ended by itself.
async fn engine_failure(raft: &Raft) -> String {
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            return fatal.to_string();
        }
        if metrics.changed().await.is_err() {
            return String::from("its task ended");
        }
    }
}

struct Ports {
    listener: TcpListener,
    endpoint: PeerEndpoint,
    certificate_expires: SystemTime,
    /// Where this node may let others in.
    authority: Option<ClusterCa>,
}

/// The two ports, after the certificates that the peer port needs have been checked.
async fn bind(config: &Config) -> Result<Ports, NodeError> {
    let name = NodeName { cluster: config.cluster.id.parse()?, node: config.node.id };
    let files = IdentityFiles {
        ca: config.peer.ca.clone(),
        certificate: config.peer.certificate.clone(),
        key: config.peer.key.clone(),
    };
    let identity = PeerIdentity::load(&files, SystemTime::now())?;
    identity.require_name(name)?;
    let authority = read_authority(config, name.cluster)?;
    let address = config.http.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| NodeError::Http { address, source })?;
    let endpoint = PeerEndpoint::bind(config.peer.listen, &identity, &config.node.data_dir)?;
    Ok(Ports { listener, endpoint, certificate_expires: identity.expires, authority })
}

/// The authority with its key, where this node holds that.
fn read_authority(config: &Config, cluster: ClusterId) -> Result<Option<ClusterCa>, NodeError> {
    let Some(key) = &config.peer.ca_key else { return Ok(None) };
    let authority = ClusterCa::load_files(&config.peer.ca, key)?;
    authority.require_cluster(cluster, &config.peer.ca)?;
    Ok(Some(authority))
}

fn open_store(config: &Config, sink: mpsc::Sender<AppliedEvent>) -> Result<Opened, NodeError> {
    let opened = Store::open(Options {
        data_dir: config.node.data_dir.clone(),
        identity: Identity { cluster: config.cluster.id.clone(), node: config.node.id },
        sink,
        resume_window: config.sessions.resume_window,
    });
    opened.map_err(|error| NodeError::of_open(error, config))
}
