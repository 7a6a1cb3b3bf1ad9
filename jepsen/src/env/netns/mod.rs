//! A network namespace for each node.
//!
//! The runner is in a namespace of its own, see `env::enter`, and is the router between those
//! of the nodes. Each node has two cables to it: one for peers and clients, where faults are put,
//! and one for the harness. So every packet between nodes passes the runner's kernel, which drops
//! what is cut off, and hands over to `tap` what is to be late, damaged or doubled.

mod queue;
mod tap;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    Place,
    door::Doors,
    enter::{self, NAMESPACES},
    fault::{ClientFault, Effect, Impairment, Link, LinkFault, Packets},
    ports, tool,
    wires::Wires,
};
use crate::db::process;
use tap::{Names, Tap};

const COMMAND_WITHIN: Duration = Duration::from_secs(20);
const PEER_PORT: u16 = 7_000;
const HTTP_PORT: u16 = 8_000;
/// The router's own end of every cable.
const ROUTER: u8 = 254;
/// The first two parts of addresses: of the public cables, and of the harness's.
const PUBLIC: [u8; 2] = [10, 77];
const CONTROL: [u8; 2] = [10, 78];

/// Numbers the networks of this process: several can be there at once.
static NEXT: AtomicU8 = AtomicU8::new(1);

pub struct Namespaces {
    number: u8,
    nsenter: PathBuf,
    names: Names,
    wires: Arc<Wires>,
    doors: Doors,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Nodes in the order of their addresses.
    nodes: Vec<String>,
    /// Those of nodes that are whole.
    places: BTreeMap<String, Place>,
    /// Faults that the kernel drops packets for.
    dropping: BTreeSet<u64>,
    /// Nodes without a cable, with how many packets they found no way for before.
    unplugged: BTreeMap<u64, (String, u64)>,
    /// Whom packets are handed over to.
    tap: Option<Tap>,
    /// Are they handed over?
    hands_over: bool,
}

impl Namespaces {
    /// # Errors
    /// Where the runner is not in namespaces of its own, or may not do what is needed there.
    pub async fn new() -> io::Result<Self> {
        if !enter::has_own_network() {
            let why = "the runner has no network of its own; env::enter makes one";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Ok(Self {
            number: number().await?,
            nsenter: tool("nsenter")?,
            names: Names::default(),
            wires: Arc::default(),
            doors: Doors::new()?,
            state: Mutex::default(),
        })
    }

    /// A place for another node.
    ///
    /// # Errors
    /// Where its namespace cannot be made.
    pub async fn add(&self, name: &str) -> io::Result<Place> {
        let mut state = self.state.lock().await;
        // Who did not get into the cluster tries again.
        if let Some(place) = state.places.get(name) {
            return Ok(*place);
        }
        let namespace = self.namespace(name);
        let known = state.nodes.iter().position(|node| node == name);
        let index = known.unwrap_or(state.nodes.len());
        if known.is_none() {
            state.nodes.push(name.to_owned());
        } else {
            // It was left half made.
            let _ = run("ip", &["netns", "del", &namespace]).await;
        }
        let last = u8::try_from(index + 1).ok().filter(|last| *last < ROUTER);
        let last = last.ok_or_else(|| io::Error::other("the network is full"))?;
        run("ip", &["netns", "add", &namespace]).await?;
        self.inside(name, "ip", &["link", "set", "lo", "up"]).await?;
        for (cable, net) in [("public", PUBLIC), ("control", CONTROL)] {
            let ours = format!("{}{}-{last}", &cable[..1], self.number);
            let (router, node) = (self.address(net, ROUTER), self.address(net, last));
            let (router_alone, node_alone) = (format!("{router}/32"), format!("{node}/32"));
            run(
                "ip",
                &["link", "add", &ours, "type", "veth", "peer", "name", cable, "netns", &namespace],
            )
            .await?;
            run("ip", &["addr", "add", &router_alone, "peer", &node_alone, "dev", &ours]).await?;
            run("ip", &["link", "set", &ours, "up"]).await?;
            let address = ["addr", "add", &node_alone, "peer", &router_alone, "dev", cable];
            self.inside(name, "ip", &address).await?;
            self.inside(name, "ip", &["link", "set", cable, "up"]).await?;
        }
        self.lead_to_others(name).await?;
        let (public, control) = (self.address(PUBLIC, last), self.address(CONTROL, last));
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(public, name.to_owned());
        let http = ports::stream(ports::own_address())?;
        self.doors.add(name, http, SocketAddr::from((public, HTTP_PORT)));
        let place = Place {
            peer: SocketAddr::from((public, PEER_PORT)),
            peer_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PEER_PORT)),
            http,
            http_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP_PORT)),
            control: SocketAddr::from((control, HTTP_PORT)),
        };
        state.places.insert(name.to_owned(), place);
        Ok(place)
    }

    /// The way to the other nodes, which is lost with the cable.
    async fn lead_to_others(&self, name: &str) -> io::Result<()> {
        let net = format!("{}/24", self.address(PUBLIC, 0));
        let router = self.address(PUBLIC, ROUTER).to_string();
        self.inside(name, "ip", &["route", "replace", &net, "via", &router]).await.map(|_| ())
    }

    /// A command that runs in the node's namespace, in the process that is started.
    pub fn command(&self, name: &str, program: &Path) -> Command {
        // `ip netns exec` would also give it mounts of its own, and so hold on to other nodes'
        // disks after they were unmounted here.
        let mut command = Command::new(&self.nsenter);
        let namespace = Path::new(NAMESPACES).join(self.namespace(name));
        command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
        command
    }

    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where this cannot be done here.
    pub async fn impair(&self, fault: &LinkFault) -> io::Result<()> {
        let unsupported = |why| io::Error::new(io::ErrorKind::Unsupported, why);
        if fault.impairments.iter().any(|one| matches!(one, Impairment::Migrate { .. })) {
            return Err(unsupported(String::from("nodes have their own addresses here")));
        }
        let mut state = self.state.lock().await;
        if fault.impairments.contains(&Impairment::Drop) {
            state.dropping.insert(fault.id);
            return run("nft", &[&self.rules(&state, fault)?]).await.map(|_| ());
        }
        if state.tap.is_none() {
            let (wires, names) = (Arc::clone(&self.wires), Arc::clone(&self.names));
            let tap = Tap::start(u16::from(self.number), wires, names);
            let tap = tap.map_err(|error| unsupported(format!("no queue of packets: {error}")))?;
            state.tap = Some(tap);
        }
        if !state.hands_over {
            self.hand_over("-A").await?;
            state.hands_over = true;
        }
        self.wires.impair(fault, Instant::now());
        Ok(())
    }

    /// Begins or ends to hand all packets between nodes over.
    async fn hand_over(&self, action: &str) -> io::Result<()> {
        let net = format!("{}/24", self.address(PUBLIC, 0));
        let number = self.number.to_string();
        let rule = [action, "FORWARD", "-s", &net, "-d", &net, "-p", "udp", "-j", "NFQUEUE"];
        // Should the thread be gone, packets pass.
        let queue = ["--queue-num", &number, "--queue-bypass"];
        run("iptables", &[&["-w"], &rule[..], &queue].concat()).await.map(|_| ())
    }

    /// A chain of its own for each fault, so that it can be taken away by itself.
    fn rules(&self, state: &State, fault: &LinkFault) -> io::Result<String> {
        let chain = format!("ip {} f{}", self.table(), fault.id);
        let hook = "{ type filter hook forward priority -10 ; }";
        let mut rules = vec![format!("add chain {chain} {hook}")];
        for link in &fault.links {
            let (from, to) = (self.find(state, &link.from)?, self.find(state, &link.to)?);
            rules.push(format!("add rule {chain} ip saddr {from} ip daddr {to} counter drop"));
        }
        Ok(rules.join("\n"))
    }

    fn find(&self, state: &State, name: &str) -> io::Result<Ipv4Addr> {
        let index = state.nodes.iter().position(|node| node == name);
        let last = index.and_then(|index| u8::try_from(index + 1).ok());
        let last = last.ok_or_else(|| io::Error::other(format!("no node is called {name}")))?;
        Ok(self.address(PUBLIC, last))
    }

    /// # Errors
    /// Where the cable cannot be pulled.
    pub async fn unplug(&self, id: u64, name: &str) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let lost = self.without_a_way(name).await?;
        state.unplugged.insert(id, (name.to_owned(), lost));
        self.inside(name, "ip", &["link", "set", "public", "down"]).await.map(|_| ())
    }

    /// How many packets of the node found no way so far.
    async fn without_a_way(&self, name: &str) -> io::Result<u64> {
        let counters = self.inside(name, "cat", &["/proc/self/net/snmp"]).await?;
        let mut lines = counters.lines().filter(|line| line.starts_with("Ip:"));
        let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let value = pairs.find(|(name, _)| *name == "OutNoRoutes");
        let value = value.and_then(|(_, value)| value.parse().ok());
        value.ok_or_else(|| io::Error::other("the kernel does not count packets without a way"))
    }

    pub fn impair_clients(&self, fault: &ClientFault) {
        self.doors.impair(fault);
    }

    /// # Errors
    /// Where the kernel does not say.
    pub async fn effect(&self, id: u64) -> io::Result<Effect> {
        let state = self.state.lock().await;
        let mut effect = Effect {
            links: self.wires.counts(id),
            clients: self.doors.counts(id),
            ..Effect::default()
        };
        self.add_counted(&state, id, &mut effect).await?;
        Ok(effect)
    }

    /// # Errors
    /// Where the kernel does not end it, or does not say what it did.
    pub async fn heal(&self, id: u64) -> io::Result<Effect> {
        let mut state = self.state.lock().await;
        self.heal_one(&mut state, id).await
    }

    /// # Errors
    /// Where the kernel does not end one.
    pub async fn heal_all(&self) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let ids: BTreeSet<u64> =
            state.dropping.iter().chain(state.unplugged.keys()).copied().collect();
        let mut healed = Ok(());
        self.wires.heal_all();
        self.doors.heal_all();
        for id in ids {
            // One that fails must not keep the others.
            healed = self.heal_one(&mut state, id).await.map(|_| ()).and(healed);
        }
        self.rest(&mut state).await.and(healed)
    }

    async fn heal_one(&self, state: &mut State, id: u64) -> io::Result<Effect> {
        let mut effect = Effect {
            links: self.wires.heal(id),
            clients: self.doors.heal(id),
            ..Effect::default()
        };
        let counted = self.add_counted(state, id, &mut effect).await;
        if state.dropping.contains(&id) {
            let chain = format!("ip {} f{id}", self.table());
            run("nft", &[&format!("flush chain {chain}\ndelete chain {chain}")]).await?;
            state.dropping.remove(&id);
        }
        if let Some((name, _)) = state.unplugged.get(&id) {
            let name = name.clone();
            let others = |(other, node): (&u64, &(String, u64))| *other != id && node.0 == name;
            if !state.unplugged.iter().any(others) {
                self.inside(&name, "ip", &["link", "set", "public", "up"]).await?;
                self.lead_to_others(&name).await?;
            }
            state.unplugged.remove(&id);
        }
        self.rest(state).await?;
        counted.map(|()| effect)
    }

    /// Packets are handed over only while a fault needs it.
    async fn rest(&self, state: &mut State) -> io::Result<()> {
        if state.hands_over && self.wires.are_whole() {
            self.hand_over("-D").await?;
            state.hands_over = false;
        }
        Ok(())
    }

    async fn add_counted(&self, state: &State, id: u64, effect: &mut Effect) -> io::Result<()> {
        if state.dropping.contains(&id) {
            let chain = format!("f{id}");
            let listed = run("nft", &["-j", "list", "chain", "ip", &self.table(), &chain]).await?;
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            for (from, to, dropped) in counters(&serde_json::from_str(&listed)?) {
                if let (Some(from), Some(to)) = (names.get(&from), names.get(&to)) {
                    let packets = Packets { dropped, ..Packets::default() };
                    effect.links.entry(Link::new(from, to)).or_default().add(&packets);
                }
            }
        }
        if let Some((name, before)) = state.unplugged.get(&id) {
            let lost = self.without_a_way(name).await?.saturating_sub(*before);
            effect.unplugged.insert(name.clone(), lost);
        }
        Ok(())
    }

    /// Runs a command in a node's namespace.
    async fn inside(&self, name: &str, program: &str, arguments: &[&str]) -> io::Result<String> {
        let mut command = self.command(name, &tool(program)?);
        command.args(arguments);
        process::run(command, COMMAND_WITHIN).await
    }

    fn address(&self, [first, second]: [u8; 2], last: u8) -> Ipv4Addr {
        Ipv4Addr::new(first, second, self.number, last)
    }

    fn namespace(&self, name: &str) -> String {
        format!("jepsen{}-{name}", self.number)
    }

    fn table(&self) -> String {
        table(self.number)
    }
}

/// A number that no network of this runner has, nor one of a runner that it started.
async fn number() -> io::Result<u8> {
    let mut created = Ok(());
    for _ in 0..=u8::MAX {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        created = run("nft", &["create", "table", "ip", &table(number)]).await.map(|_| ());
        if created.is_ok() {
            return Ok(number);
        }
    }
    created.and_then(|()| Err(io::Error::other("no number is left")))
}

fn table(number: u8) -> String {
    format!("jepsen{number}")
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // Cables and addresses go with the namespaces. What fails here goes with the runner.
        for name in &self.state.get_mut().nodes.clone() {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(name)]).status();
        }
        let _ = Command::new("nft").args(["delete", "table", "ip", &self.table()]).status();
    }
}

/// Sender, receiver and number of dropped packets of each rule that `nft -j` lists.
fn counters(listed: &Value) -> Vec<(Ipv4Addr, Ipv4Addr, u64)> {
    let rules = listed["nftables"].as_array().into_iter().flatten();
    let counter = |rule: &Value| {
        let expressions = rule["rule"]["expr"].as_array()?;
        let address = |field: &str| {
            let mut matches = expressions.iter().map(|expression| &expression["match"]);
            let found = matches.find(|found| found["left"]["payload"]["field"] == field)?;
            found["right"].as_str()?.parse().ok()
        };
        let packets = expressions.iter().find_map(|one| one["counter"]["packets"].as_u64());
        Some((address("saddr")?, address("daddr")?, packets?))
    };
    rules.filter_map(counter).collect()
}

async fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let mut command = Command::new(tool(program)?);
    command.args(arguments);
    process::run(command, COMMAND_WITHIN).await
}

#[cfg(test)]
mod tests;
