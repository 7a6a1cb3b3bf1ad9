//! Who belongs to the cluster now: asked of its nodes in the background, where no call waits for it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use synckairos_protocol::wire::rest::NodesAnswer;

use crate::{
    client::{Inner, from_json},
    nodes::Node,
    retry,
    transport::Call,
};

/// While all is well.
const EVERY: Duration = Duration::from_secs(60);
/// While a member is away that answered before.
const EVERY_WHILE_AWAY: Duration = Duration::from_secs(5);
/// At the soonest, whatever happens.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A node answers from its memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Those who are named are asked as well, and may know of others.
const WAVES: usize = 3;

/// Why one might look who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A call succeeded, or a follower hears its node.
    InUse,
    /// So it did, after another node had failed.
    Moved,
    /// All nodes failed one after the other.
    NobodyLeft,
    /// A node says that the members have changed.
    Changed,
}

#[derive(Debug)]
pub(crate) struct Discovery {
    is_wanted: bool,
    schedule: Mutex<Schedule>,
}

/// Pure, so that every moment can be tried.
#[derive(Debug, Default)]
struct Schedule {
    is_running: bool,
    began: Option<Instant>,
    /// Something happened since, and it was too early to look.
    is_overdue: bool,
}

impl Discovery {
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, schedule: Mutex::default() }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schedule {
    /// Is it time? Then somebody looks from now on, until [`Schedule::ended`].
    fn begins(&mut self, now: Instant, occasion: Occasion, misses_members: bool) -> bool {
        self.is_overdue |= occasion != Occasion::InUse;
        let after = match (self.is_overdue, misses_members) {
            (true, _) => AT_MOST_EVERY,
            (false, true) => EVERY_WHILE_AWAY,
            (false, false) => EVERY,
        };
        let early = self.began.is_some_and(|began| now.duration_since(began) < after);
        if self.is_running || early {
            return false;
        }
        *self = Self { is_running: true, began: Some(now), is_overdue: false };
        true
    }

    fn ended(&mut self) {
        self.is_running = false;
    }
}

/// Looks who is there, in the background, where it is time to. `told` is the revision of the
/// membership, where a node has told it, and that node.
pub(crate) fn consider(client: &Arc<Inner>, occasion: Occasion, told: Option<(&Node, u64)>) {
    let discovery = &client.discovery;
    if !discovery.is_wanted {
        return;
    }
    let is_news = told.is_some_and(|(node, revision)| client.nodes.is_news(node, revision));
    let occasion = if is_news { Occasion::Changed } else { occasion };
    let misses_members = client.nodes.misses_members();
    if discovery.schedule().begins(Instant::now(), occasion, misses_members) {
        let looking = Looking(Arc::clone(client));
        tokio::spawn(async move { look(&looking.0).await });
    }
}

/// Lets the next one look, whatever becomes of this one.
struct Looking(Arc<Inner>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.discovery.schedule().ended();
    }
}

/// One node that answers is asked for the members, and those that have not answered are asked
/// whether they do.
async fn look(client: &Inner) {
    for node in client.nodes.present() {
        if ask(client, &node).await {
            break;
        }
    }
    let mut asked: Vec<Node> = Vec::new();
    let mut cluster = client.nodes.cluster();
    for _ in 0..WAVES {
        let absent = client.nodes.absent().into_iter();
        let fresh: Vec<Node> = absent.filter(|node| !asked.contains(node)).collect();
        if fresh.is_empty() {
            return;
        }
        join_all(fresh.iter().map(|node| ask(client, node))).await;
        asked.extend(fresh);
        let now = client.nodes.cluster();
        if now != cluster {
            // Who was a stranger may belong to it now.
            asked.clear();
            cluster = now;
        }
    }
}

/// Asks one node for the members; false where it does not say, or not those of the cluster.
async fn ask(client: &Inner, node: &Node) -> bool {
    let call = Call::read(String::from("/v1/cluster/nodes"));
    let timeout = client.config.attempt_timeout.min(ANSWER_WITHIN);
    let answer = client.transport.send(node, &call, timeout).await;
    match answer.and_then(|answer| answer.into_value(from_json::<NodesAnswer>)) {
        Ok(answer) => client.nodes.hear(node, &answer),
        Err(failure) => {
            tracing::debug!(%node, %failure, "a node does not say who belongs to the cluster");
            if retry::is_gone(&failure) {
                client.nodes.failed(node, true);
            }
            false
        }
    }
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
