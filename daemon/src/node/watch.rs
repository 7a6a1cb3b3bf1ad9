//! What knows how the cluster is, who belongs to it, and what answers peers and operators.

use std::time::SystemTime;

use synckairos_raft_store::{Applied, snapshot_file::SnapshotInbox};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::NodeError;
use crate::{
    config::Config,
    disk::{self, Disk},
    health::{Survey, report::Reporter},
    members::{self, Members, removal},
    pki::ca::ClusterCa,
    raft::{Raft, clock::ClusterClock, join_door::JoinDoor, listener::PeerService, peers::Peers},
    sessions::Sessions,
    telemetry::metrics::Metrics,
};

/// What peers and operators ask about.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) sessions: Sessions,
    pub(super) applied: Applied,
    pub(super) clock: ClusterClock,
    pub(super) peers: Peers,
    pub(super) disk: Disk,
    pub(super) metrics: Metrics,
    pub(super) certificate_expires: SystemTime,
    /// Where this node may let others in.
    pub(super) authority: Option<ClusterCa>,
    pub(super) outdated: watch::Sender<Option<String>>,
    pub(super) ended: CancellationToken,
}

/// Who answers.
pub(super) struct Watched {
    pub(super) survey: Survey,
    pub(super) members: Members,
    pub(super) service: PeerService,
}

impl Parts {
    /// Starts to watch the disk and the members.
    pub(super) fn watch(
        self,
        config: &Config,
        inbox: SnapshotInbox,
        tasks: &mut JoinSet<()>,
    ) -> Result<Watched, NodeError> {
        let Self { raft, sessions, applied, clock, peers, disk, metrics, .. } = self;
        let reporter = Reporter {
            raft: raft.clone(),
            applied: applied.clone(),
            sessions: sessions.clone(),
            clock: clock.clone(),
            disk: disk.clone(),
            certificate_expires: self.certificate_expires,
        };
        let survey = Survey::new(reporter.clone(), peers.clone(), config.cluster.id.parse()?);
        let keeper = disk::Keeper {
            disk: disk.clone(),
            raft: raft.clone(),
            clock: clock.clone(),
            survey: survey.clone(),
            metrics,
        };
        tasks.spawn(disk::run(keeper));
        let members = Members::new(raft.clone(), applied.clone(), sessions.clone(), survey.clone());
        tasks.spawn(members::keep(members.clone(), self.ended.clone()));
        tasks.spawn(removal::run(config.node.id, applied, peers.clone(), self.ended));
        let service = PeerService {
            raft,
            sessions,
            clock,
            peers,
            inbox,
            outdated: self.outdated,
            disk,
            reporter,
            members: members.clone(),
            joining: JoinDoor::new(self.authority),
        };
        Ok(Watched { survey, members, service })
    }
}
