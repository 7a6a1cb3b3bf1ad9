//! The store under a real openraft, with one node.

use std::{collections::BTreeMap, future::Future, io, sync::Arc, time::Duration};

use openraft::{
    Config, OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use synckairos_protocol::{
    command::{CommandBatch, Stamped},
    event::Answer,
    time::Stamp,
};

use super::{Node, create, session_id};
use crate::{
    AppliedEvent, Opened,
    raft_types::{PeerNode, Snapshot, SnapshotFile, TypeConfig, Vote},
};

/// There is nobody else.
#[derive(Clone)]
struct Alone;

fn nobody() -> Unreachable<TypeConfig> {
    Unreachable::new(&io::Error::other("there is no other node"))
}

impl RaftNetworkFactory<TypeConfig> for Alone {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &PeerNode) -> Self {
        Self
    }
}

impl RaftNetworkV2<TypeConfig> for Alone {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(nobody().into())
    }
}

fn batch(numbers: std::ops::Range<u64>) -> CommandBatch {
    let stamp = |number| Stamp::from_unix_millis(1_000 + number);
    let commands = numbers.map(|number| Stamped { stamp: stamp(number), command: create(number) });
    CommandBatch { commands: commands.collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_follow_the_events_they_caused_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 150,
        election_timeout_max: 300,
        ..Config::default()
    };
    let config = Arc::new(config.validate().unwrap());
    let mut hash = [0; 32];
    for start in 0..2 {
        let Node { opened, mut events } = Node::open(directory.path());
        let Opened { log, state, applied, inbox, fatal, closed, .. } = opened;
        let raft = Raft::new(1, Arc::clone(&config), Alone, log.clone(), state).await.unwrap();
        if start == 0 {
            raft.initialize(BTreeMap::from([(1, PeerNode::default())])).await.unwrap();
        }
        let leads = raft.wait(Some(Duration::from_secs(20)));
        leads.current_leader(1, "the only node leads").await.unwrap();
        if start == 0 {
            for first in (0..300).step_by(3) {
                let written = raft.client_write(batch(first..first + 3)).await.unwrap();
                assert_eq!(written.data.revision, written.log_id.index);
                assert!(matches!(written.data.answers[..], [Ok(Answer::Session(_)), Ok(_), Ok(_)]));
                let AppliedEvent::Entry { revision, changes } = events.try_recv().unwrap() else {
                    panic!("nothing is installed");
                };
                assert_eq!((revision, changes.len()), (written.log_id.index, 3));
                assert!(applied.session(session_id(first + 2)).is_some());
                assert_eq!(applied.applied_index(), Some(revision));
            }
            hash = applied.state_hash();
        }
        applied.wait_applied(101).await;
        assert_eq!(applied.state_hash(), hash);
        assert_eq!(log.last_stamp(), Stamp::from_unix_millis(1_299));
        assert_eq!(*fatal.borrow(), None);
        raft.shutdown().await.unwrap();
        drop((raft, log, applied, inbox, fatal));
        closed.wait().await;
    }
}
