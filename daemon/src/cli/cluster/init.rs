//! `synckairos cluster init`: a new cluster of one node, to which others can be added.

use std::{path::PathBuf, time::SystemTime};

use crate::{
    cli::{CliError, Output, note, places::Listen, print, print_json},
    members::{address::Address, home::Home},
    pki::{ClusterId, NodeName},
};

const FIRST_NODE: u64 = 1;

#[derive(clap::Args)]
pub(super) struct Init {
    /// Where the node keeps its data, its certificates and its configuration; empty, or not there
    /// yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where other nodes will reach this one, UDP
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    peer: Address,
    /// Where clients will reach this node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000")]
    http: Address,
    #[command(flatten)]
    listen: Listen,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Init {
    pub(super) fn run(self) -> Result<(), CliError> {
        Home::empty(&self.data_dir)?;
        let name = NodeName { cluster: ClusterId::random(), node: FIRST_NODE };
        let local = self.peer.is_loopback();
        let places = self.listen.places(self.peer, self.http);
        Home::lay_out(&self.data_dir, name, &places, SystemTime::now())?;
        let dir = self.data_dir.display();
        note(format_args!(
            "a cluster of one node is laid out in {dir}\n\
             start it:        synckairos serve --data-dir {dir}\n\
             let others join: synckairos cluster token create --data-dir {dir}"
        ));
        if local {
            note(format_args!(
                "only nodes on this machine will reach it at {}; for others give --peer and --http \
                 when you make the cluster",
                places.peer
            ));
        }
        let cluster = name.cluster.to_string();
        match self.output {
            Output::Text => print(cluster),
            Output::Json => {
                print_json(&serde_json::json!({ "cluster_id": cluster, "node_id": name.node }))
            }
        }
    }
}
