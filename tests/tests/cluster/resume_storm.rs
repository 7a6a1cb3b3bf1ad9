//! A thousand sockets on three nodes follow a hundred sessions under load, while nodes are killed
//! and restarted and sockets are cut: no client misses a version, sees one twice, or sees another
//! content than the others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use synckairos_tests::{
    chance::Chance,
    cluster::{Cluster, Plan},
    http::Http,
    load,
    sessions::{content, number},
    socket::{Frame, Socket},
    wait::{self, PATIENCE, eventually, holds, throughout},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

const SESSIONS: usize = 100;
const SOCKETS: usize = 1_000;
const SWITCHERS: usize = 20;
/// Between two switches of one switcher.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a socket lives before it is cut.
const LIFE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a node stays away.
const AWAY: Duration = Duration::from_millis(1_500);
/// How long a node stands still.
const STILL: Duration = Duration::from_secs(4);
const SEED: u64 = 0x5eed_0004;

/// What has been told of each session, by version: the first client to hear it writes, all others
/// compare.
#[derive(Default)]
struct Ledger {
    contents: Mutex<HashMap<String, Vec<Option<u64>>>>,
    told: AtomicU64,
    connections: AtomicU64,
}

impl Ledger {
    fn compare(&self, session: &str, message: &Value) {
        let mut hasher = DefaultHasher::new();
        content(message).to_string().hash(&mut hasher);
        let told = hasher.finish();
        let index = usize::try_from(number(&message["version"])).unwrap();
        let mut contents = self.contents.lock().unwrap();
        let versions = contents.entry(session.to_owned()).or_default();
        if versions.len() <= index {
            versions.resize(index + 1, None);
        }
        match versions[index] {
            Some(before) => assert_eq!(before, told, "told otherwise before: {message}"),
            None => versions[index] = Some(told),
        }
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

/// One client of one session.
struct Follower {
    session: String,
    nodes: Vec<SocketAddr>,
    chance: Chance,
    ledger: Arc<Ledger>,
    /// The version that was told last, and its revision.
    version: u64,
    revision: u64,
    /// The last version of every session, once nothing changes any more.
    ends: watch::Receiver<Option<Arc<HashMap<String, u64>>>>,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let node = self.nodes[self.chance.below(self.nodes.len())];
            let life = self.chance.between(LIFE.0, LIFE.1);
            let (session, version) = (&self.session, self.version);
            let revision = match self.revision {
                0 => String::new(),
                revision => format!("&revision={revision}"),
            };
            let path = format!("/ws?sessionId={session}&since={version}{revision}");
            let opened = timeout(PATIENCE, Socket::try_open(node, &path)).await;
            let Ok(socket) = opened.expect("a node answers or is not there") else {
                wait::pass(Duration::from_millis(100)).await;
                continue;
            };
            self.ledger.connections.fetch_add(1, Ordering::Relaxed);
            if self.follow(socket, life).await {
                return;
            }
        }
    }

    /// Reads until the socket ends, or is cut after `life`; true where all has been told.
    async fn follow(&mut self, mut socket: Socket, life: Duration) -> bool {
        let cut_at = Instant::now() + life;
        let mut ends = self.ends.clone();
        loop {
            let end = ends.borrow_and_update().as_ref().map(|ends| ends[&self.session]);
            if end == Some(self.version) {
                return true;
            }
            // Nothing is cut any more once everybody only waits for the end.
            let left = match end {
                Some(_) => PATIENCE,
                None => cut_at.saturating_duration_since(Instant::now()),
            };
            let frame = tokio::select! {
                frame = socket.frame(left) => frame,
                _ = ends.changed() => continue,
            };
            match frame {
                Some(Frame::Message(message)) => self.take(&message),
                Some(Frame::Ping | Frame::Pong) => {}
                Some(Frame::Close { .. } | Frame::Gone) => return false,
                None if end.is_some() => {
                    panic!("{} ends at {end:?}: {}", self.session, self.version)
                }
                None => return false,
            }
        }
    }

    fn take(&mut self, message: &Value) {
        match message["type"].as_str().unwrap() {
            "STATE_UPDATE" => {
                let version = number(&message["version"]);
                assert_eq!(version, self.version + 1, "after {}: {message}", self.version);
                self.version = version;
                self.revision = number(&message["revision"]);
                self.ledger.compare(&self.session, message);
            }
            // What comes before a close that sends the client elsewhere.
            "CONNECTED" | "STALE" | "ERROR" => {}
            _ => panic!("after {}: {message}", self.version),
        }
    }
}

/// Switches the sessions in turn until told to stop, on whichever node answers.
async fn switch(nodes: Vec<Http>, sessions: Vec<String>, mut turn: usize, stop: Arc<AtomicBool>) {
    for session in sessions.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match nodes[turn % nodes.len()].try_command(session, "switch").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(_) | Err(_) => turn += 1,
        }
        wait::pass(PAUSE).await;
    }
}

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Terminate,
    /// It stands still for long enough to be out of touch when it wakes up.
    Pause,
}

/// Disturbs one node after the other, the leader among them, and waits each time until it is back.
async fn disturb(cluster: &Cluster, chance: &mut Chance) {
    use Fault::{Kill, Pause, Terminate};
    let faults = [
        (Kill, true),
        (Kill, false),
        (Pause, true),
        (Terminate, false),
        (Kill, true),
        (Pause, false),
        (Terminate, true),
        (Kill, false),
    ];
    for (fault, leading) in faults {
        let node = if leading {
            cluster.leader().await
        } else {
            &cluster.nodes[chance.below(cluster.nodes.len())]
        };
        match fault {
            Kill => node.kill(),
            Terminate => {
                node.terminate();
                assert!(node.await_end().await.success());
            }
            Pause => node.pause(),
        }
        match fault {
            Pause => {
                throughout(STILL, async || {}).await;
                node.resume();
            }
            Kill | Terminate => {
                throughout(AWAY, async || {}).await;
                node.start();
            }
        }
        node.await_ready().await;
        cluster.await_caught_up(node, PATIENCE).await;
    }
}

async fn all_connected(cluster: &Cluster) {
    eventually(PATIENCE, "every socket is open", async || {
        let mut open = 0.0;
        for node in &cluster.nodes {
            open += node.http.metric("synckairos_websocket_connections").await;
        }
        // Some are between two nodes at any time.
        holds(950.0 < open, || format!("{open}"))
    })
    .await;
}

/// The last version of every session.
async fn last_versions(cluster: &Cluster, sessions: &[String]) -> HashMap<String, u64> {
    let mut ends = HashMap::new();
    for (turn, session) in sessions.iter().enumerate() {
        let state = cluster.any(turn).state(session).await;
        ends.insert(session.clone(), number(&state["version"]));
    }
    ends
}

#[tokio::test]
async fn a_thousand_clients_miss_nothing_and_see_nothing_twice() {
    let plan = Plan::of(3).set("http.access_log", false).set("sessions.resume_window", 1_000);
    let cluster = plan.start().await;
    let mut chance = Chance::new(SEED);
    let (ledger, stop) = (Arc::new(Ledger::default()), Arc::new(AtomicBool::new(false)));
    let mut sessions = Vec::new();
    for turn in 0..SESSIONS {
        sessions.push(load::running_session(cluster.any(turn)).await);
    }
    let (end, ends) = watch::channel(None);
    let mut followers = JoinSet::new();
    for socket in 0..SOCKETS {
        let follower = Follower {
            session: sessions[socket % SESSIONS].clone(),
            nodes: cluster.addresses(),
            chance: Chance::new(chance.next_u64()),
            ledger: Arc::clone(&ledger),
            version: 0,
            revision: 0,
            ends: ends.clone(),
        };
        followers.spawn(follower.run());
    }
    let mut switchers = JoinSet::new();
    for (turn, sessions) in sessions.chunks(SESSIONS / SWITCHERS).enumerate() {
        let nodes = cluster.nodes.iter().map(|node| node.http.clone()).collect();
        switchers.spawn(switch(nodes, sessions.to_vec(), turn, Arc::clone(&stop)));
    }
    all_connected(&cluster).await;
    let began = Instant::now();
    disturb(&cluster, &mut chance).await;
    let disturbed = began.elapsed();
    all_connected(&cluster).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(switcher) = switchers.join_next().await {
        switcher.unwrap();
    }
    let versions = last_versions(&cluster, &sessions).await;
    let changes: u64 = versions.values().sum();
    end.send_replace(Some(Arc::new(versions)));
    while let Some(follower) = followers.join_next().await {
        follower.unwrap();
    }
    let connections = ledger.connections.load(Ordering::Relaxed);
    let told = ledger.told.load(Ordering::Relaxed);
    eprintln!("{changes} versions, {told} told over {connections} connections in {disturbed:?}");
    let each = u64::try_from(SOCKETS / SESSIONS).unwrap();
    assert_eq!(told, changes * each, "each version to each of its clients");
    assert!(u64::try_from(SOCKETS).unwrap() < connections, "sockets were cut");
}
