//! What can be done to packets between nodes, and to the connections of clients.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Every packet that one node sends to another, whichever of them opened the connection it belongs
/// to. So a fault of one link alone is one-way: it touches the requests of `from` and its answers
/// to `to`, and nothing that `to` sends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    pub from: String,
    pub to: String,
}

/// One thing that happens to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impairment {
    /// None arrives.
    Drop,
    /// None arrives for `period_ms`, then all for as long, and so on.
    Flap { period_ms: u64 },
    /// So many of a hundred are lost, each by itself.
    Loss { percent: u8 },
    /// Larger ones vanish without a word. Counted are the bytes that UDP carries.
    Mtu { bytes: usize },
    /// Normally distributed, so that packets overtake each other.
    Delay { mean_ms: u32, jitter_ms: u32 },
    /// So many of a hundred are held back, and overtaken by others.
    Reorder { percent: u8, hold_ms: u32 },
    /// So many of a hundred arrive twice.
    Duplicate { percent: u8 },
    /// In so many of a hundred, bits are flipped.
    Corrupt { percent: u8 },
    /// Packets queue for their turn; those that would wait longer than `queue_ms` are lost.
    Rate { kbit: u32, queue_ms: u32 },
    /// Every so often they come from another address than before, as behind a router that forgot
    /// the connection. What is sent to the old address is lost.
    Migrate { every_ms: u64 },
}

/// A fault of some links. Several can be on a link at once; each is healed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFault {
    pub id: u64,
    /// Decides which packets are hit.
    pub seed: u64,
    pub links: BTreeSet<Link>,
    pub impairments: Vec<Impairment>,
}

/// One thing that happens to the connections of clients to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientImpairment {
    /// Those that exist are reset, new ones are refused.
    Cut,
    /// They come about and stay, but carry nothing.
    Hang { requests: bool, answers: bool },
    /// They carry little.
    Slow { kbit: u32 },
    /// In so many of a hundred cases, the request gets there, and the connection is reset when the
    /// answer is about to be carried.
    KillBeforeAnswer { percent: u8 },
}

/// A fault between clients and some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFault {
    pub id: u64,
    pub seed: u64,
    pub nodes: BTreeSet<String>,
    pub impairment: ClientImpairment,
}

/// What a fault did to the packets of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packets {
    /// Those that it saw and let through, touched or not.
    #[serde(skip_serializing_if = "is_nothing")]
    pub passed: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub dropped: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub delayed: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub reordered: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub duplicated: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub corrupted: u64,
    /// How often the sender's address changed.
    #[serde(skip_serializing_if = "is_nothing")]
    pub migrated: u64,
}

/// What a fault did to the connections of clients to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Streams {
    /// Connections that were reset.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reset: u64,
    /// How often something was ready to be carried, and was held back.
    #[serde(skip_serializing_if = "is_nothing")]
    pub held: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub slowed_bytes: u64,
    /// Connections that were reset between request and answer.
    #[serde(skip_serializing_if = "is_nothing")]
    pub killed: u64,
}

/// What a fault did, as far as it was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub links: BTreeMap<Link, Packets>,
    pub clients: BTreeMap<String, Streams>,
    /// Nodes whose cable was pulled, with how often they found no way for a packet.
    pub unplugged: BTreeMap<String, u64>,
}

impl Link {
    pub fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned() }
    }

    /// Both ways between two nodes.
    pub fn both(one: &str, other: &str) -> [Self; 2] {
        [Self::new(one, other), Self::new(other, one)]
    }
}

impl Packets {
    /// How often a packet was touched.
    pub const fn touched(&self) -> u64 {
        self.dropped
            + self.delayed
            + self.reordered
            + self.duplicated
            + self.corrupted
            + self.migrated
    }

    pub const fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.dropped += other.dropped;
        self.delayed += other.delayed;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.migrated += other.migrated;
    }
}

impl Streams {
    pub const fn touched(&self) -> u64 {
        self.reset + self.held + self.slowed_bytes + self.killed
    }
}

impl Effect {
    /// How often anything was touched.
    pub fn touched(&self) -> u64 {
        let packets: u64 = self.links.values().map(Packets::touched).sum();
        let streams: u64 = self.clients.values().map(Streams::touched).sum();
        packets + streams + self.unplugged.values().sum::<u64>()
    }

    /// Of all links together.
    pub fn packets(&self) -> Packets {
        self.links.values().fold(Packets::default(), |mut sum, packets| {
            sum.add(packets);
            sum
        })
    }
}

/// So that evidence names only what happened.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_nothing(count: &u64) -> bool {
    *count == 0
}
