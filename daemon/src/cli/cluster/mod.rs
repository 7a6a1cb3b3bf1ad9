//! `synckairos cluster`: how a running cluster is, and who belongs to it.

mod status;

use clap::Subcommand;

use super::CliError;

#[derive(clap::Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Say whether the cluster serves, and how much more may fail
    ///
    /// Ends with 0 when it is HEALTHY, 10 when it is DEGRADED (it serves, and stops when one more
    /// voter fails), 11 when there is NO QUORUM, 12 when no node answers.
    Status(status::Status),
}

impl Cluster {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.command {
            ClusterCommand::Status(status) => status.run(),
        }
    }
}
