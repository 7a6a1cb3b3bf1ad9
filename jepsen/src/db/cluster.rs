//! All nodes of a test.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    layout::{self, Founder},
    node::{Node, Parts},
    process,
    program::Program,
    storage::Storage,
};
use crate::{
    env::Network,
    history::recorder::Recorder,
    nemesis::Trouble,
    test::{plan::Plan, run::Exit},
};

/// The variable of a program that was built for tests: the file that sets its clocks.
pub const TEST_CLOCK: &str = "SYNCKAIROS_TEST_CLOCK";
/// The variable of a program that was built with planted bugs.
pub const PLANT: &str = "SYNCKAIROS_PLANT";

const JOIN_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Cluster {
    pub plan: Plan,
    pub recorder: Recorder,
    pub network: Arc<Network>,
    /// What operators type.
    pub program: PathBuf,
    /// The version before, where one is given that nodes begin with.
    pub older: Option<Program>,
    /// Nodes of that version are refused from now on.
    pub upgrade_is_final: AtomicBool,
    directory: PathBuf,
    /// Holds the short name that `directory` goes by: the path of a socket has at most 107 bytes.
    _named: TempDir,
    authority: PathBuf,
    /// Can the program's clocks be set wrong?
    pub has_test_clock: bool,
    nodes: Mutex<Vec<Arc<Node>>>,
}

impl Cluster {
    /// Lays all nodes out in `directory`; none runs yet.
    ///
    /// # Errors
    /// Where files, disks or places in the network cannot be made.
    pub async fn prepare(plan: &Plan, directory: &Path, recorder: Recorder) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let named = tempfile::Builder::new().prefix("sk").tempdir()?;
        let short = named.path().join("n");
        std::os::unix::fs::symlink(directory.canonicalize()?, &short)?;
        let directory = short.as_path();
        let network = Arc::new(Network::new(plan.env).await?);
        let authority = directory.join("authority");
        let cluster_id = layout::found(&plan.bin, &authority).await?;
        let cluster = Self {
            plan: plan.clone(),
            recorder,
            network,
            program: plan.bin.clone(),
            older: older(plan).await?,
            upgrade_is_final: AtomicBool::new(false),
            directory: directory.to_owned(),
            _named: named,
            authority,
            has_test_clock: mentions(&plan.bin, TEST_CLOCK)?,
            nodes: Mutex::default(),
        };
        let mut founders = Vec::new();
        let first = cluster.older.clone().unwrap_or_else(|| cluster.newest());
        for id in (1_u64..).take(plan.nodes) {
            founders.push(Founder { id, place: cluster.network.add(&name_of(id)).await? });
        }
        for Founder { id, place } in founders.clone() {
            let home = directory.join(name_of(id));
            fs::create_dir_all(&home)?;
            let storage = Storage::prepare(plan.disk, &home).await?;
            layout::equip(&plan.bin, &cluster.authority, &home, id).await?;
            let whole = (cluster_id.as_str(), founders.as_slice());
            let who = (id, &first);
            layout::configure(&home, &storage.data(), &cluster.authority, whole, who)?;
            let environment = cluster.environment(&home);
            let (name, program, joined) = (name_of(id), first.clone(), false);
            let parts = Parts { name, id, home, place, storage, program, environment, joined };
            cluster.adopt(parts);
        }
        Ok(cluster)
    }

    /// A new node that joins by a token from `sponsor`, in the place of `replaced` where given. It
    /// has been let in and runs when this returns; it votes when it has caught up.
    ///
    /// # Errors
    /// Where it is not let in.
    pub async fn join(&self, sponsor: &Node, replaced: Option<u64>) -> io::Result<Arc<Node>> {
        let number = u64::try_from(self.nodes().len()).map_err(io::Error::other)? + 1;
        let name = name_of(number);
        let home = self.directory.join(&name);
        fs::create_dir_all(&home)?;
        let storage = Storage::prepare(self.plan.disk, &home).await?;
        let place = self.network.add(&name).await?;
        let token = match replaced {
            Some(old) => {
                self.operate_json(sponsor, &["cluster", "replace", &old.to_string()]).await?
            }
            None => self.operate_json(sponsor, &["cluster", "token", "create"]).await?,
        };
        let token = token["token"].as_str().map(str::to_owned);
        let token = token.ok_or_else(|| io::Error::other("no token was printed"))?;
        let mut command = self.network.command(&name, &self.program);
        command.args(["cluster", "join", &token, "-o", "json", "--data-dir"]).arg(storage.data());
        command.args(["--peer", &place.peer.to_string(), "--http", &place.http.to_string()]);
        command.args(["--peer-listen", &place.peer_listen.to_string()]);
        command.args(["--http-listen", &place.http_listen.to_string()]).env_clear();
        let printed = process::run(command, JOIN_WITHIN).await?;
        let printed: serde_json::Value = serde_json::from_str(&printed)?;
        let id = printed["node_id"].as_u64().or_else(|| printed["node"].as_u64());
        let id = id.ok_or_else(|| io::Error::other(format!("no id in {printed}")))?;
        layout::tune_file(&storage.data().join("node.toml"))?;
        let environment = self.environment(&home);
        let (program, joined) = (self.newest(), true);
        let node =
            self.adopt(Parts { name, id, home, place, storage, program, environment, joined });
        node.start()?;
        Ok(node)
    }

    /// The version under test.
    pub fn newest(&self) -> Program {
        Program::current(&self.program)
    }

    fn adopt(&self, parts: Parts) -> Arc<Node> {
        let node = Arc::new(Node::new(parts, Arc::clone(&self.network), self.recorder.clone()));
        self.lock().push(Arc::clone(&node));
        node
    }

    fn environment(&self, home: &Path) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        if self.has_test_clock {
            environment.insert(TEST_CLOCK.to_owned(), home.join("clock").display().to_string());
        }
        if let Some(plant) = &self.plan.plant {
            environment.insert(PLANT.to_owned(), plant.clone());
        }
        environment
    }

    /// Every node that was ever part of it, also those that left.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.lock().clone()
    }

    /// Those that did not leave for good.
    pub fn members(&self) -> Vec<Arc<Node>> {
        self.nodes().into_iter().filter(|node| !node.is_retired()).collect()
    }

    /// Where clients reach them: name and address.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.members().iter().map(|node| (node.name.clone(), node.place.http)).collect()
    }

    /// Starts every node that does not run and did not leave.
    ///
    /// # Errors
    /// Where one cannot be started.
    pub fn start_all(&self) -> io::Result<()> {
        self.members().iter().try_for_each(|node| node.start())
    }

    /// The node that says that it leads in the highest term.
    pub async fn leader(&self) -> Option<Arc<Node>> {
        let mut best: Option<(u64, Arc<Node>)> = None;
        for node in self.members() {
            let Some((200, status)) = node.ask("/v1/node").await else { continue };
            let term = status["term"].as_u64().unwrap_or(0);
            if status["role"] == "leader" && best.as_ref().is_none_or(|(known, _)| *known < term) {
                best = Some((term, node));
            }
        }
        best.map(|(_, node)| node)
    }

    /// Waits until all members are ready and agree on one leader; what is missing where they do
    /// not within `within`.
    ///
    /// # Errors
    /// What is missing.
    pub async fn await_agreement(&self, within: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let Err(missing) = self.agreement().await else { return Ok(()) };
            if deadline <= tokio::time::Instant::now() {
                return Err(missing);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn agreement(&self) -> Result<(), String> {
        let mut leaders = Vec::new();
        for node in self.members() {
            if !node.runs() {
                return Err(format!("{} does not run", node.name));
            }
            let Some((status, body)) = node.ask("/ready").await else {
                return Err(format!("{} does not answer", node.name));
            };
            if status != 200 {
                return Err(format!("{} is not ready: {body}", node.name));
            }
            let leader = node.ask("/v1/node").await.map(|(_, body)| body["leader_id"].as_u64());
            leaders.push(leader.flatten());
        }
        match leaders.first() {
            Some(Some(leader)) if leaders.iter().all(|named| *named == Some(*leader)) => Ok(()),
            Some(_) | None => Err(format!("they name different leaders: {leaders:?}")),
        }
    }

    /// How all processes ended so far.
    pub fn exits(&self) -> Vec<Exit> {
        let mut exits: Vec<Exit> = self.nodes().iter().flat_map(|node| node.exits()).collect();
        exits.sort_by_key(|exit| exit.time);
        exits
    }

    /// Ends all nodes and lets go of what they used.
    pub async fn tear_down(&self, because: &str) {
        for node in self.nodes() {
            node.terminate(because, Duration::from_secs(20)).await;
        }
        for node in self.nodes() {
            node.storage.release().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cluster that is to be upgraded begins with the version before.
async fn older(plan: &Plan) -> io::Result<Option<Program>> {
    match &plan.bin_old {
        Some(path) if plan.nemesis.contains(&Trouble::Upgrade) => {
            Program::older(path).await.map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

fn name_of(id: u64) -> String {
    format!("n{id}")
}

/// Does the program know this word? What is not compiled in is not in the file.
fn mentions(program: &Path, word: &str) -> io::Result<bool> {
    let bytes = fs::read(program)?;
    Ok(bytes.windows(word.len()).any(|window| window == word.as_bytes()))
}
