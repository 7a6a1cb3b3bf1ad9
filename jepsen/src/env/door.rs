//! Stands between clients and a node's client port.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    aside::Aside,
    fault::{ClientFault, ClientImpairment, Streams},
    wires::{hits, on_the_wire},
};

/// How soon a door opens after its node listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 16 << 10;
/// Little at a time, so that a slow connection is slow throughout.
const SLOW_BYTES: usize = 256;

/// The doors of all nodes. Each lets clients in only while its node listens, so that they are
/// refused where the node would refuse them.
pub(crate) struct Doors {
    aside: Aside,
    doors: Mutex<BTreeMap<String, watch::Sender<Rules>>>,
}

/// The faults of one door.
type Rules = BTreeMap<u64, Arc<Rule>>;

struct Rule {
    impairment: ClientImpairment,
    random: Mutex<ChaCha8Rng>,
    reset: AtomicU64,
    held: AtomicU64,
    slowed_bytes: AtomicU64,
    killed: AtomicU64,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

impl Doors {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { aside: Aside::start("doors")?, doors: Mutex::default() })
    }

    /// A door at `listen` in front of the node that listens at `node`.
    pub(crate) fn add(&self, name: &str, listen: SocketAddr, node: SocketAddr) {
        let (rules, followed) = watch::channel(Rules::new());
        self.lock().insert(name.to_owned(), rules);
        self.aside.spawn(keep(listen, node, followed));
    }

    /// Those nodes that have a door.
    pub(crate) fn impair(&self, fault: &ClientFault) {
        for (stream, name) in (0_u64..).zip(&fault.nodes) {
            let mut random = ChaCha8Rng::seed_from_u64(fault.seed);
            random.set_stream(stream);
            let rule = Arc::new(Rule::new(fault.impairment, random));
            if let Some(rules) = self.lock().get(name) {
                rules.send_modify(|rules| {
                    rules.insert(fault.id, rule);
                });
            }
        }
    }

    /// Ends a fault; what it did.
    pub(crate) fn heal(&self, id: u64) -> BTreeMap<String, Streams> {
        let mut healed = BTreeMap::new();
        for (name, rules) in &*self.lock() {
            rules.send_if_modified(|rules| {
                let removed = rules.remove(&id);
                removed.as_ref().is_some_and(|rule| {
                    healed.insert(name.clone(), rule.counts());
                    true
                })
            });
        }
        healed
    }

    pub(crate) fn heal_all(&self) {
        for rules in self.lock().values() {
            rules.send_modify(BTreeMap::clear);
        }
    }

    pub(crate) fn counts(&self, id: u64) -> BTreeMap<String, Streams> {
        let doors = self.lock();
        let counts = |rules: &watch::Sender<Rules>| Some(rules.borrow().get(&id)?.counts());
        doors.iter().filter_map(|(name, rules)| Some((name.clone(), counts(rules)?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Rules>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn new(impairment: ClientImpairment, random: ChaCha8Rng) -> Self {
        Self {
            impairment,
            random: Mutex::new(random),
            reset: AtomicU64::new(0),
            held: AtomicU64::new(0),
            slowed_bytes: AtomicU64::new(0),
            killed: AtomicU64::new(0),
        }
    }

    fn counts(&self) -> Streams {
        Streams {
            reset: self.reset.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            slowed_bytes: self.slowed_bytes.load(Ordering::Relaxed),
            killed: self.killed.load(Ordering::Relaxed),
        }
    }

    fn cuts(&self) -> bool {
        self.impairment == ClientImpairment::Cut
    }

    fn holds(&self, way: Way) -> bool {
        match (self.impairment, way) {
            (ClientImpairment::Hang { requests, .. }, Way::Requests) => requests,
            (ClientImpairment::Hang { answers, .. }, Way::Answers) => answers,
            (
                ClientImpairment::Cut
                | ClientImpairment::Slow { .. }
                | ClientImpairment::KillBeforeAnswer { .. },
                _,
            ) => false,
        }
    }

    /// Does the connection end here, before the answer?
    fn kills(&self) -> bool {
        let ClientImpairment::KillBeforeAnswer { percent } = self.impairment else { return false };
        hits(percent, &mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn kbit(&self) -> Option<u32> {
        match self.impairment {
            ClientImpairment::Slow { kbit } => Some(kbit),
            ClientImpairment::Cut
            | ClientImpairment::Hang { .. }
            | ClientImpairment::KillBeforeAnswer { .. } => None,
        }
    }
}

fn cuts(rules: &Rules) -> bool {
    rules.values().any(|rule| rule.cuts())
}

/// Opens the door while the node listens and nothing cuts it off.
async fn keep(listen: SocketAddr, node: SocketAddr, mut rules: watch::Receiver<Rules>) {
    let doubts = Arc::new(Notify::new());
    while rules.wait_for(|rules| !cuts(rules)).await.is_ok() {
        if listens(node).await {
            // The address can be taken for a moment by what it was before.
            if let Ok(listener) = TcpListener::bind(listen).await {
                let_in(listener, node, &mut rules, &doubts).await;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A stopped process listens too: its system takes connections for it.
async fn listens(node: SocketAddr) -> bool {
    let connected = timeout(CONNECT_WITHIN, TcpStream::connect(node)).await;
    connected.is_err() || matches!(connected, Ok(Ok(_)))
}

/// Until the node no longer listens or is cut off.
async fn let_in(
    listener: TcpListener,
    node: SocketAddr,
    rules: &mut watch::Receiver<Rules>,
    doubts: &Arc<Notify>,
) {
    let followed = rules.clone();
    loop {
        let is_cut = async { rules.wait_for(cuts).await.map(|_| ()) };
        tokio::select! {
            _ = is_cut => return,
            () = doubts.notified() => {
                if !listens(node).await {
                    return;
                }
            }
            accepted = listener.accept() => {
                // An error means that there are too many files; it gets no worse by waiting.
                let Ok((client, _)) = accepted else { return };
                tokio::spawn(carry(client, node, followed.clone(), Arc::clone(doubts)));
            }
        }
    }
}

/// One client's connection to the node.
async fn carry(
    mut client: TcpStream,
    node: SocketAddr,
    rules: watch::Receiver<Rules>,
    doubts: Arc<Notify>,
) {
    let connected = timeout(CONNECT_WITHIN, TcpStream::connect(node)).await;
    let Ok(Ok(mut server)) = connected else {
        doubts.notify_one();
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let ended = {
        let (requests, to_client) = client.split();
        let (answers, to_server) = server.split();
        let waits = AtomicBool::new(false);
        let pipe = |way| Pipe { way, rules: rules.clone(), waits: &waits };
        let (forth, back) = (pipe(Way::Requests), pipe(Way::Answers));
        let back = async {
            let ended = back.run(answers, to_client).await;
            // Perhaps the node is gone altogether.
            doubts.notify_one();
            ended
        };
        tokio::select! {
            ended = async { tokio::try_join!(forth.run(requests, to_server), back) } => ended.is_ok(),
            () = cut(rules.clone()) => false,
        }
    };
    if !ended {
        reset(&client);
        reset(&server);
    }
}

/// Waits until the connection is to be reset.
async fn cut(mut rules: watch::Receiver<Rules>) {
    if let Ok(rules) = rules.wait_for(cuts).await {
        for rule in rules.values().filter(|rule| rule.cuts()) {
            rule.reset.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Closing it sends a reset, and drops what was not yet carried.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// One way of a connection.
struct Pipe<'a> {
    way: Way,
    rules: watch::Receiver<Rules>,
    /// Was a request carried that has no answer yet?
    waits: &'a AtomicBool,
}

impl Pipe<'_> {
    /// # Errors
    /// Where the connection is to be reset.
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let most = if self.kbit().is_some() { SLOW_BYTES } else { BUFFER_BYTES };
            let length = from.read(&mut buffer[..most]).await?;
            self.held_back().await?;
            if length == 0 {
                return to.shutdown().await;
            }
            self.take_note()?;
            self.slow_down(length).await;
            to.write_all(&buffer[..length]).await?;
        }
    }

    fn kbit(&self) -> Option<(u32, Arc<Rule>)> {
        let rules = self.rules.borrow();
        let slow = rules.values().filter_map(|rule| Some((rule.kbit()?, Arc::clone(rule))));
        slow.min_by_key(|(kbit, _)| *kbit)
    }

    async fn held_back(&mut self) -> io::Result<()> {
        let way = self.way;
        {
            let rules = self.rules.borrow();
            for rule in rules.values().filter(|rule| rule.holds(way)) {
                rule.held.fetch_add(1, Ordering::Relaxed);
            }
        }
        let free = |rules: &Rules| !rules.values().any(|rule| rule.holds(way));
        self.rules.wait_for(free).await.map(|_| ()).map_err(io::Error::other)
    }

    fn take_note(&self) -> io::Result<()> {
        if self.way == Way::Requests {
            self.waits.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if !self.waits.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        for rule in self.rules.borrow().values() {
            if rule.kills() {
                rule.killed.fetch_add(1, Ordering::Relaxed);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        Ok(())
    }

    async fn slow_down(&self, length: usize) {
        if let Some((kbit, rule)) = self.kbit() {
            rule.slowed_bytes.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
            sleep(on_the_wire(length, kbit)).await;
        }
    }
}
