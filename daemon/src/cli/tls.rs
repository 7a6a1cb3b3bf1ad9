//! `synckairos tls`: a cluster's own certificate authority, and the certificates of its nodes.

use std::{fs, path::PathBuf, time::SystemTime};

use clap::Subcommand;

use super::{CliError, note, print};
use crate::pki::{CA_KEY, ClusterId, ca::ClusterCa};

#[derive(clap::Args)]
pub(super) struct Tls {
    #[command(subcommand)]
    command: TlsCommand,
}

#[derive(Subcommand)]
enum TlsCommand {
    /// Make a certificate authority for a new cluster and print the cluster's id
    Init {
        /// Where the authority's certificate and key are written
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The cluster's id, a UUID in lower case [default: a new one]
        #[arg(long, value_name = "UUID")]
        cluster_id: Option<ClusterId>,
    },
    /// Make the key and the certificate of one node, to be copied to that node
    Issue {
        /// Where `tls init` wrote the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The node's id
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        /// Where ca.crt, node.crt and node.key are written
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

impl Tls {
    pub(super) fn run(self) -> Result<(), CliError> {
        let now = SystemTime::now();
        match self.command {
            TlsCommand::Init { dir, cluster_id } => {
                fs::create_dir_all(&dir)?;
                let cluster = cluster_id.unwrap_or_else(ClusterId::random);
                ClusterCa::create(cluster, now)?.save(&dir)?;
                let key = dir.join(CA_KEY);
                note(format_args!("keep {} secret: its holder can be any node", key.display()));
                print(cluster)
            }
            TlsCommand::Issue { dir, node, out } => {
                let ca = ClusterCa::load(&dir)?;
                fs::create_dir_all(&out)?;
                ca.issue_node(node, now)?.save(&out)?;
                note(format_args!(
                    "node {node} of cluster {} is in {}",
                    ca.cluster(),
                    out.display()
                ));
                Ok(())
            }
        }
    }
}
