//! Nodes and clients that cannot reach each other, and packets that do not arrive as they were
//! sent.

mod clients;
pub(crate) mod packets;
mod sides;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{Active, FaultOutcome, Form, Planned, Target, Trouble};
use crate::{
    db::{cluster::Cluster, node::Node},
    env::{
        Network,
        fault::{ClientFault, Effect, LinkFault},
    },
};

/// An election may be under way: how long to wait for a leader to aim at.
const LEADER_TRIES: u32 = 20;
const LEADER_WAIT: Duration = Duration::from_millis(100);
/// A client that is let in hears of it sooner than this on one machine.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);

/// What is to be installed, all of it decided.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Links(LinkFault),
    /// A node's cable is pulled.
    Unplug(String),
    Clients(ClientFault),
}

impl Fault {
    /// Which links and nodes these are, its counters say.
    fn told(&self) -> String {
        match self {
            Self::Links(fault) => format!("{:?} on {} links", fault.impairments, fault.links.len()),
            Self::Unplug(name) => format!("Unplug {name}"),
            Self::Clients(fault) => format!("{:?}", fault.impairment),
        }
    }
}

pub const fn forms(trouble: Trouble) -> &'static [Form] {
    match trouble {
        Trouble::Partition => &sides::FORMS,
        Trouble::Packet => &packets::FORMS,
        Trouble::ClientPartition => &clients::FORMS,
        Trouble::Kill
        | Trouble::Stop
        | Trouble::Pause
        | Trouble::Clock
        | Trouble::Drift
        | Trouble::Power
        | Trouble::LyingDisk
        | Trouble::DiskError
        | Trouble::DiskFull
        | Trouble::SlowDisk
        | Trouble::Corrupt
        | Trouble::DataLoss
        | Trouble::Transfer
        | Trouble::Membership
        | Trouble::Snapshot
        | Trouble::RollingRestart
        | Trouble::Upgrade
        | Trouble::Flood
        | Trouble::Squeeze => &[],
    }
}

pub async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Active, FaultOutcome> {
    let nodes = aimed_at(cluster, planned, nodes).await?;
    let names = |nodes: &[Arc<Node>]| nodes.iter().map(|node| node.name.clone()).collect();
    let (chosen, all): (Vec<String>, Vec<String>) = (names(&nodes), names(&cluster.members()));
    let (fault, hit) = decide(planned, &chosen, &all, cluster.network.has_plugs())?;
    install(&cluster.network, planned.id, &fault).await?;
    let hit = cluster.members().into_iter().filter(|node| hit.contains(&node.name)).collect();
    Ok(Active::on(cluster, hit).await.with("installed", fault.told()))
}

pub async fn end(cluster: &Cluster, planned: &Planned, active: &mut Active) -> FaultOutcome {
    let mut refused = 0;
    if planned.trouble == Trouble::ClientPartition && planned.form == clients::CUT {
        for node in active.nodes.iter().filter(|node| node.runs()) {
            refused += u64::from(refuses(node.place.http).await);
        }
        active.note("refused", refused);
    }
    match heal(&cluster.network, planned.id, &mut active.evidence).await {
        Ok(touched) => FaultOutcome::seen(0 < touched + refused, "it touched nothing"),
        Err(error) => FaultOutcome::indeterminate(error),
    }
}

/// The driver's choice, or the leader where there was none when it chose.
async fn aimed_at(
    cluster: &Cluster,
    planned: &Planned,
    nodes: Vec<Arc<Node>>,
) -> Result<Vec<Arc<Node>>, FaultOutcome> {
    if !nodes.is_empty() || planned.target != Target::Leader {
        return Ok(nodes);
    }
    for _ in 0..LEADER_TRIES {
        if let Some(leader) = cluster.leader().await {
            return Ok(vec![leader]);
        }
        tokio::time::sleep(LEADER_WAIT).await;
    }
    Err(FaultOutcome::skipped("no node leads"))
}

/// What the plan means here, and the names of the nodes that it hits.
fn decide(
    planned: &Planned,
    chosen: &[String],
    all: &[String],
    has_plugs: bool,
) -> Result<(Fault, Vec<String>), FaultOutcome> {
    if chosen.is_empty() || all.len() < 2 {
        return Err(FaultOutcome::skipped("there are not enough nodes"));
    }
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
    // The nodes were chosen from the first one.
    random.set_stream(1);
    let decided = if planned.trouble == Trouble::ClientPartition {
        clients::decide(planned, chosen, &mut random)
    } else if planned.trouble == Trouble::Packet {
        packets::decide(planned, (chosen, all), &mut random)
    } else {
        sides::decide(planned, (chosen, all), has_plugs, &mut random)
    };
    decided.ok_or_else(|| FaultOutcome::skipped(format!("no form is called {}", planned.form)))
}

async fn install(network: &Network, id: u64, fault: &Fault) -> Result<(), FaultOutcome> {
    let installed = match fault {
        Fault::Links(fault) => network.impair(fault).await,
        Fault::Unplug(name) => network.unplug(id, name).await,
        Fault::Clients(fault) => {
            network.impair_clients(fault);
            Ok(())
        }
    };
    let Err(error) = installed else { return Ok(()) };
    let healed = network.heal(id).await;
    if error.kind() == io::ErrorKind::Unsupported && healed.is_ok() {
        return Err(FaultOutcome::skipped(error.to_string()));
    }
    Err(FaultOutcome::indeterminate(error))
}

/// Ends the fault, notes what it did, and returns how often it touched something.
async fn heal(network: &Network, id: u64, evidence: &mut Map<String, Value>) -> io::Result<u64> {
    let effect = network.heal(id).await?;
    evidence.insert(String::from("touched"), json!(effect.touched()));
    evidence.insert(String::from("effect"), told(&effect));
    Ok(effect.touched())
}

fn told(effect: &Effect) -> Value {
    let links = effect.links.iter().filter(|(_, packets)| 0 < packets.touched());
    let links =
        links.map(|(link, packets)| (format!("{}->{}", link.from, link.to), json!(packets)));
    let clients = effect.clients.iter().filter(|(_, streams)| 0 < streams.touched());
    let clients = clients.map(|(name, streams)| (name.clone(), json!(streams)));
    let unplugged = effect.unplugged.iter().map(|(name, lost)| (name.clone(), json!(lost)));
    let all = links.chain(clients).chain(unplugged);
    Value::Object(all.collect())
}

async fn refuses(address: SocketAddr) -> bool {
    !matches!(timeout(REFUSED_WITHIN, TcpStream::connect(address)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests;
