//! One node: what it is made of, in which order it starts, and how it stops.

mod stop;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use openraft::{
    async_runtime::WatchReceiver,
    errors::{InitializeError, RaftError},
};
use synckairos_raft_store::{
    Applied, AppliedEvent, Closed, Identity, LogStore, OpenError, Opened, Options, StateStore,
    Store, raft_types::PeerNode, snapshot_file::SnapshotInbox,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    admission::Limits,
    config::Config,
    disk::{self, Disk, DiskError},
    health::{Survey, report::Reporter},
    http::{self, AppState},
    pki::{
        NodeName, NotAClusterId, PkiError,
        identity::{IdentityFiles, PeerIdentity},
    },
    push::{Hub, Replays},
    raft::{
        Raft,
        candidacy::Outrun,
        clock::ClusterClock,
        endpoint::{BindError, PeerEndpoint},
        listener::{self, PeerService},
        network::Network,
        peers::Peers,
        settings::RaftSettingsError,
    },
    sessions::{self, Sessions},
    telemetry::{self, metrics::Metrics},
};

/// Applied entries that may wait for the push hub before applying waits for it.
const APPLIED_QUEUE_MAX: usize = 1_024;

/// Whatever has no code of its own.
const EXIT_FAILURE: u8 = 1;
/// EX_DATAERR: starting again does not help, the node must be replaced.
const EXIT_DATA_DAMAGED: u8 = 65;
/// EX_IOERR: the disk is full or fails; once that is mended, starting again helps.
const EXIT_DISK: u8 = 74;

/// The node cannot start, or cannot go on. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    ClusterId(#[from] NotAClusterId),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    Settings(#[from] RaftSettingsError),
    #[error(
        "cannot listen for clients on {address}: {source}; free the port or change http.listen"
    )]
    Http { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Peer(#[from] BindError),
    #[error("the Raft engine does not start: {0}")]
    Raft(String),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error(
        "the store failed: {0}; this node stops rather than go on from a state it cannot trust"
    )]
    Store(String),
    #[error("the Raft engine failed: {0}; this node stops, start it again")]
    Engine(String),
    #[error(
        "the leader sent what this version cannot read ({0}); install the version that the other \
         nodes run"
    )]
    Outdated(String),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "the disk of {} is full: {reason}; make room there, then start the node again: what it \
         acknowledged is on the disk", data_dir.display()
    )]
    DiskFull { data_dir: PathBuf, reason: String },
    #[error("{damage} (this is node {node})")]
    Damaged { node: u64, damage: OpenError },
    #[error("the node did not stop within {0} s; what it had acknowledged is on disk")]
    Stop(u64),
}

impl NodeError {
    fn of_open(error: OpenError, config: &Config) -> Self {
        let reason = error.to_string();
        if disk::is_full(&reason) {
            return Self::DiskFull { data_dir: config.node.data_dir.clone(), reason };
        }
        if error.is_damage() {
            return Self::Damaged { node: config.node.id, damage: error };
        }
        Self::Open(error)
    }

    /// The code with which the process ends: those of sysexits.h where one fits.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } => EXIT_DATA_DAMAGED,
            Self::Store(_) | Self::Disk(_) | Self::DiskFull { .. } => EXIT_DISK,
            Self::ClusterId(_)
            | Self::Pki(_)
            | Self::Open(_)
            | Self::Settings(_)
            | Self::Http { .. }
            | Self::Peer(_)
            | Self::Raft(_)
            | Self::Signals(_)
            | Self::Engine(_)
            | Self::Outdated(_)
            | Self::Stop(_) => EXIT_FAILURE,
        }
    }
}

/// Runs a node until SIGTERM, SIGINT or a failure that it must not outlive.
pub(crate) async fn run(config: Config) -> Result<(), NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signals)?;
    let mut node = Node::start(config).await?;
    let result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        failure = node.failed() => Err(failure),
    };
    match result {
        Ok(()) => {
            info!("stopping");
            node.stop().await
        }
        Err(failure) => {
            error!(error = %failure, "ending at once");
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
    http: tokio::task::JoinHandle<()>,
    fatal: watch::Receiver<Option<String>>,
    outdated: watch::Receiver<Option<String>>,
    data_dir: PathBuf,
    closed: Closed,
}

impl Node {
    async fn start(config: Config) -> Result<Self, NodeError> {
        let engine = config.raft.to_engine(&config.cluster.id)?;
        let disk = Disk::open(&config.node.data_dir, &config.disk)?;
        // Ports first: a second process on the same ports must not touch the data.
        let Ports { listener, endpoint, certificate_expires } = bind(&config).await?;
        let (metrics, clock) = (Metrics::new(), ClusterClock::default());
        let (sink, changes) = mpsc::channel(APPLIED_QUEUE_MAX);
        let Opened { log, state, applied, inbox, fatal, closed } = open_store(&config, sink)?;

        let mut tasks = JoinSet::new();
        // Before Raft: it applies again what the state has lost, and waits while nobody listens.
        let hub = start_hub(changes, &clock, &metrics, &mut tasks);
        let peers = Peers::new(endpoint.clone(), clock.clone());
        let raft = start_engine(&config, engine, &peers, (log.clone(), state)).await?;
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
        let (tell_outdated, outdated) = watch::channel(None);
        let parts = Parts {
            raft: raft.clone(),
            sessions: sessions.clone(),
            applied,
            clock: clock.clone(),
            peers: peers.clone(),
            disk,
            metrics: metrics.clone(),
            certificate_expires,
            outdated: tell_outdated,
        };
        let (survey, service) = parts.watch(&config, inbox, &mut tasks)?;
        tasks.spawn(listener::run(endpoint.clone(), service, ended.clone()));
        let sampler =
            telemetry::sampler::run(metrics.clone(), sessions.clone(), clock.clone(), log);
        tasks.spawn(sampler);
        found_cluster(&raft, &config).await?;

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
        info!(node = config.node.id, cluster = config.cluster.id, http = %config.http.listen,
            peer = %config.peer.listen, version = env!("CARGO_PKG_VERSION"), "started");
        Ok(Self {
            raft,
            sessions,
            peers,
            endpoint,
            stopping,
            ended,
            tasks,
            http,
            fatal,
            outdated,
            data_dir: config.node.data_dir,
            closed,
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
            Ok(reason) = self.outdated.wait_for(Option::is_some) => {
                NodeError::Outdated(reason.clone().unwrap_or_default())
            }
        }
    }
}

async fn start_engine(
    config: &Config,
    engine: openraft::Config,
    peers: &Peers,
    (log, state): (LogStore, StateStore),
) -> Result<Raft, NodeError> {
    let network = Network::new(peers.clone());
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

/// What peers and operators ask about.
struct Parts {
    raft: Raft,
    sessions: Sessions,
    applied: Applied,
    clock: ClusterClock,
    peers: Peers,
    disk: Disk,
    metrics: Metrics,
    certificate_expires: SystemTime,
    outdated: watch::Sender<Option<String>>,
}

impl Parts {
    /// Starts to watch the disk; what knows how the cluster is, and what answers peers.
    fn watch(
        self,
        config: &Config,
        inbox: SnapshotInbox,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Survey, PeerService), NodeError> {
        let Self { raft, sessions, applied, clock, peers, disk, metrics, .. } = self;
        let reporter = Reporter {
            raft: raft.clone(),
            applied,
            sessions: sessions.clone(),
            clock: clock.clone(),
            disk: disk.clone(),
            certificate_expires: self.certificate_expires,
        };
        let survey = Survey::new(reporter.clone(), peers.clone(), config.cluster.id.parse()?);
        let outrun = Outrun::default();
        let keeper = disk::Keeper {
            disk: disk.clone(),
            raft: raft.clone(),
            clock: clock.clone(),
            outrun: outrun.clone(),
            survey: survey.clone(),
            metrics,
        };
        tasks.spawn(disk::run(keeper));
        let outdated = self.outdated;
        let service =
            PeerService { raft, sessions, clock, peers, inbox, outdated, disk, outrun, reporter };
        Ok((survey, service))
    }
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
    let address = config.http.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| NodeError::Http { address, source })?;
    let endpoint = PeerEndpoint::bind(config.peer.listen, &identity, &config.node.data_dir)?;
    Ok(Ports { listener, endpoint, certificate_expires: identity.expires })
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

/// The member with the lowest id founds the cluster, once, with all members in it.
async fn found_cluster(raft: &Raft, config: &Config) -> Result<(), NodeError> {
    let members: BTreeMap<u64, PeerNode> = config
        .cluster
        .members
        .iter()
        .map(|member| {
            let node = PeerNode { peer: member.peer.clone(), http: member.http.clone() };
            (member.id, node)
        })
        .collect();
    if members.keys().next() != Some(&config.node.id) {
        return Ok(());
    }
    match raft.initialize(members).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(
            error @ (RaftError::APIError(InitializeError::NotInMembers(_)) | RaftError::Fatal(_)),
        ) => Err(NodeError::Raft(error.to_string())),
    }
}
