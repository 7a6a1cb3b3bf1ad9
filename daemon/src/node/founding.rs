//! The member with the lowest id founds the cluster, once: when all the others answer, and none has
//! ever had data.
//!
//! If it went ahead without one of them, it might be the one that has lost everything, and found the
//! cluster a second time. Nobody but it lets the other founders in, so one of them that has no data
//! and finds a cluster has lost its data too.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::{join_all, try_join_all};
use openraft::errors::{InitializeError, RaftError};
use synckairos_raft_store::raft_types::PeerNode;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{
    config::Config,
    raft::{
        Raft,
        peers::{NoStanding, Peers},
        service::Unfit,
        standing::Standing,
    },
};

const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// They have to sync their disks.
const LET_IN_WITHIN: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often it is said that somebody is waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Founds the cluster in the background, where this node is to, and has not done so.
pub(super) fn begin(
    config: &Config,
    (raft, peers, standing): (&Raft, &Peers, &Standing),
    unfit: &watch::Sender<Option<Unfit>>,
    tasks: &mut JoinSet<()>,
) {
    if standing.is_admitted() && !standing.tell(raft).blank {
        return;
    }
    let members = config.cluster.members.iter().map(|member| {
        let node = PeerNode { peer: member.peer.clone(), http: member.http.clone() };
        (member.id, node)
    });
    let members: BTreeMap<u64, PeerNode> = members.collect();
    if members.keys().next() == Some(&config.node.id) {
        let (raft, peers, standing) = (raft.clone(), peers.clone(), standing.clone());
        tasks.spawn(Founding { raft, peers, standing, members, unfit: unfit.clone() }.run());
    } else {
        info!("this node has no data: it waits until the others let it in");
    }
}

struct Founding {
    raft: Raft,
    peers: Peers,
    standing: Standing,
    members: BTreeMap<u64, PeerNode>,
    unfit: watch::Sender<Option<Unfit>>,
}

/// There is no cluster yet.
enum NotFounded {
    /// It is tried again.
    Waits(String),
    /// This node was in it.
    LostData {
        other: u64,
    },
    Failed(String),
}

impl Founding {
    /// Founds the cluster as soon as that can be done.
    async fn run(self) {
        let mut said: Option<Instant> = None;
        loop {
            match self.found().await {
                Ok(()) => {
                    info!(nodes = ?self.members.keys(), "the cluster is founded");
                    return;
                }
                Err(NotFounded::Waits(reason)) => {
                    if said.is_none_or(|said| SAY_EVERY < said.elapsed()) {
                        said = Some(Instant::now());
                        warn!(%reason, "the cluster is founded when all of its nodes answer");
                    }
                    sleep(RETRY_AFTER).await;
                }
                Err(NotFounded::LostData { other }) => {
                    let what = format!("it founded the cluster in which node {other} has data");
                    self.unfit.send_replace(Some(Unfit::LogLost(what)));
                    return;
                }
                Err(NotFounded::Failed(reason)) => {
                    warn!(%reason, "the cluster is not founded");
                    return;
                }
            }
        }
    }

    async fn found(&self) -> Result<(), NotFounded> {
        let own = self.raft.node_id();
        let others: Vec<_> = self.members.iter().filter(|(node, _)| *node != own).collect();
        let asked = others.iter().map(|(node, place)| async move {
            (**node, *place, self.peers.standing(**node, place, ANSWER_WITHIN).await)
        });
        let mut new = Vec::new();
        let mut silent = None;
        for (other, place, answer) in join_all(asked).await {
            match answer {
                Ok(standing) if !standing.blank => return Err(NotFounded::LostData { other }),
                Ok(standing) => new.push((other, place, standing.incarnation)),
                Err(reason) => silent = silent.or(Some(waits(other, &reason))),
            }
        }
        if let Some(waits) = silent {
            return Err(waits);
        }
        try_join_all(new.into_iter().map(|(node, place, incarnation)| async move {
            let let_in = self.peers.let_in(node, place, (incarnation, LET_IN_WITHIN)).await;
            let_in.map_err(|reason| waits(node, &reason))
        }))
        .await?;
        // From here on this node may be elected.
        self.standing.admit().await.map_err(|error| NotFounded::Failed(error.to_string()))?;
        match self.raft.initialize(self.members.clone()).await {
            // What was made from a backup has its members already.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(
                error @ (RaftError::APIError(InitializeError::NotInMembers(_))
                | RaftError::Fatal(_)),
            ) => Err(NotFounded::Failed(error.to_string())),
        }
    }
}

fn waits(node: u64, reason: &NoStanding) -> NotFounded {
    NotFounded::Waits(format!("node {node}: {reason}"))
}
