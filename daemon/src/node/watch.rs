//! What knows how the cluster is, who belongs to it, and what answers peers and operators.

use std::time::SystemTime;

use synckairos_raft_store::{Applied, snapshot_file::SnapshotInbox};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{NodeError, founding};
use crate::{
    admin::{self, AdminState},
    backup::{
        self,
        schedule::{Schedule, ScheduleHealth},
    },
    config::Config,
    disk::{self, Disk},
    health::{Survey, report::Reporter},
    members::{self, Members, removal},
    pki::ca::ClusterCa,
    raft::{
        Raft, candidacy::Outrun, clock::ClusterClock, join_door::JoinDoor, listener::PeerService,
        peers::Peers, service::Unfit, standing::Standing,
    },
    sessions::Sessions,
    telemetry::metrics::Metrics,
};

/// What peers and operators ask about.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) standing: Standing,
    pub(super) sessions: Sessions,
    pub(super) applied: Applied,
    pub(super) clock: ClusterClock,
    pub(super) peers: Peers,
    pub(super) disk: Disk,
    pub(super) metrics: Metrics,
    pub(super) certificate_expires: SystemTime,
    /// Where this node may let others in.
    pub(super) authority: Option<ClusterCa>,
    /// Cancelled when the node takes no more requests.
    pub(super) stopping: CancellationToken,
    /// Cancelled when it leaves its peers.
    pub(super) ended: CancellationToken,
}

/// Who answers.
pub(super) struct Watched {
    pub(super) survey: Survey,
    pub(super) service: PeerService,
    /// Told why this node can follow its leader no longer.
    pub(super) unfit: watch::Receiver<Option<Unfit>>,
}

impl Parts {
    /// Founds the cluster where that is to be done, and starts to watch the disk and the members, and
    /// to make backups.
    pub(super) fn watch(
        self,
        config: &Config,
        inbox: SnapshotInbox,
        tasks: &mut JoinSet<()>,
    ) -> Result<Watched, NodeError> {
        let (backups, backup_health) = self.back_up(config, tasks)?;
        let founder = (&self.raft, &self.peers, &self.standing);
        let (tell_unfit, unfit) = watch::channel(None);
        founding::begin(config, founder, &tell_unfit, tasks);
        let Self { raft, standing, sessions, applied, clock, peers, disk, metrics, .. } = self;
        let reporter = Reporter {
            raft: raft.clone(),
            applied: applied.clone(),
            sessions: sessions.clone(),
            clock: clock.clone(),
            disk: disk.clone(),
            backups: backup_health,
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
        let members = Members::new(raft.clone(), applied.clone(), sessions.clone(), survey.clone());
        tasks.spawn(members::keep(members.clone(), self.ended.clone()));
        let stopping = self.ended.clone();
        tasks.spawn(members::let_in(members.clone(), peers.clone(), stopping));
        tasks.spawn(removal::run(raft.clone(), applied, peers.clone(), self.ended));
        let operators = AdminState {
            cluster: config.cluster.id.parse()?,
            survey: survey.clone(),
            members: members.clone(),
            backups,
            pin: self.authority.as_ref().map(ClusterCa::pin),
        };
        let door = admin::bind(&config.node.data_dir)?;
        tasks.spawn(admin::serve(door, operators, self.stopping));
        let service = PeerService {
            raft,
            standing,
            sessions,
            clock,
            peers,
            inbox,
            unfit: tell_unfit,
            disk,
            outrun,
            reporter,
            members,
            joining: JoinDoor::new(self.authority),
        };
        Ok(Watched { survey, service, unfit })
    }

    /// Starts to make backups, where the configuration says so; what they are made of, and how it
    /// goes.
    fn back_up(
        &self,
        config: &Config,
        tasks: &mut JoinSet<()>,
    ) -> Result<(backup::Source, ScheduleHealth), NodeError> {
        let source = backup::Source {
            sessions: self.sessions.clone(),
            applied: self.applied.clone(),
            cluster: config.cluster.id.parse()?,
            node: config.node.id,
            stopping: self.stopping.clone(),
        };
        let health = ScheduleHealth::default();
        let schedule = Schedule {
            source: source.clone(),
            settings: config.backup.clone(),
            disk: self.disk.clone(),
            metrics: self.metrics.clone(),
            health: health.clone(),
        };
        tasks.spawn(backup::schedule::run(schedule));
        Ok((source, health))
    }
}
