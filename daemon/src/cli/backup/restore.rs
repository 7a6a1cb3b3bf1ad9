//! `synckairos backup restore`: the first node of a new cluster, with the state of a backup.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf, absolute},
    time::SystemTime,
};

use serde::Serialize;
use synckairos_raft_store::{
    Identity,
    backup::{self, BackupError, Place},
    raft_types::PeerNode,
};

use super::with_code;
use crate::{
    cli::{CliError, Output, note, places::Listen, print, print_json},
    config::HOME_FILE,
    members::{
        address::Address,
        home::{Home, HomeError, Places},
    },
    pki::{ClusterId, NodeName},
};

/// Ids of the old cluster's nodes mean nothing in the new one.
const FIRST_NODE: u64 = 1;

#[derive(clap::Args)]
pub(super) struct Restore {
    /// A backup
    file: PathBuf,
    /// Where the node keeps its data: an empty directory, or none yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the other nodes will reach it, UDP
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    peer: Address,
    /// Where clients reach it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000")]
    http: Address,
    #[command(flatten)]
    listen: Listen,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Debug, thiserror::Error)]
enum RestoreError {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Home(#[from] HomeError),
}

#[derive(Serialize)]
struct Restored {
    cluster_id: String,
    node: u64,
    data_dir: PathBuf,
    config: PathBuf,
    revision: u64,
    /// ISO 8601.
    cluster_time: String,
    sessions: u64,
    answers: u64,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), CliError> {
        let data_dir = absolute(&self.data_dir)?;
        let name = NodeName { cluster: ClusterId::random(), node: FIRST_NODE };
        let places = self.listen.places(self.peer, self.http);
        let restored =
            restore(&self.file, &data_dir, name, &places).map_err(|error| match error {
                RestoreError::Backup(error) => with_code(error),
                RestoreError::Home(error) => error.into(),
            })?;
        if self.output == Output::Json {
            return print_json(&restored);
        }
        let Restored { cluster_id, node, revision, cluster_time, sessions, .. } = restored;
        print(format_args!(
            "cluster {cluster_id} begins with revision {revision} and {sessions} sessions"
        ))?;
        print(format_args!(
            "start node {node} with `synckairos serve --data-dir {}`",
            data_dir.display()
        ))?;
        note(format_args!(
            "clocks that ran at {cluster_time} are charged for the time since then, except in \
             sessions with on_outage \"freeze\""
        ));
        Ok(())
    }
}

fn restore(
    file: &Path,
    data_dir: &Path,
    name: NodeName,
    places: &Places,
) -> Result<Restored, RestoreError> {
    let NodeName { cluster, node } = name;
    let at = PeerNode { peer: places.peer.to_string(), http: places.http.to_string() };
    let place = Place {
        data_dir: data_dir.to_owned(),
        identity: Identity { cluster: cluster.to_string(), node },
        members: BTreeMap::from([(node, at)]),
    };
    let manifest = backup::restore::<RestoreError>(file, &place, |home| {
        Ok(Home::lay_out(home, name, places, SystemTime::now())?)
    })?;
    Ok(Restored {
        cluster_id: cluster.to_string(),
        node,
        data_dir: data_dir.to_owned(),
        config: data_dir.join(HOME_FILE),
        revision: manifest.revision,
        cluster_time: manifest.cluster_time.to_iso(),
        sessions: manifest.sessions,
        answers: manifest.answers,
    })
}
