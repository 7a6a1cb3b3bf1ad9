//! `synckairos cluster`: how a running cluster is, and who belongs to it.

mod init;
mod join;
mod leader;
mod remove;
mod status;
mod token;
mod upgrade;

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
    /// Lay out a new cluster of one node
    Init(init::Init),
    /// Lay out a new node of a running cluster
    ///
    /// The node makes its key, and the cluster its certificate. If the command is interrupted, or
    /// gets no answer, repeat it as it was: the token lets the same node in again.
    Join(join::Join),
    /// Make tokens that let nodes in
    Token(token::Tokens),
    /// Make a token for a node that takes the place of another
    ///
    /// The new node joins with it, catches up, and then the old one goes in the same step.
    Replace(token::Replace),
    /// Take a node out of the cluster for good
    ///
    /// Its id is never used again. Its process ends by itself.
    Remove(remove::Remove),
    /// Let another voter lead
    TransferLeader(leader::TransferLeader),
    /// Have whoever leads make way for another voter
    StepDown(leader::StepDown),
    /// End an upgrade when all nodes run the new version
    Upgrade(upgrade::Upgrade),
}

impl Cluster {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.command {
            ClusterCommand::Status(status) => status.run(),
            ClusterCommand::Init(init) => init.run(),
            ClusterCommand::Join(join) => join.run(),
            ClusterCommand::Token(tokens) => tokens.run(),
            ClusterCommand::Replace(replace) => replace.run(),
            ClusterCommand::Remove(remove) => remove.run(),
            ClusterCommand::TransferLeader(transfer) => transfer.run(),
            ClusterCommand::StepDown(step_down) => step_down.run(),
            ClusterCommand::Upgrade(upgrade) => upgrade.run(),
        }
    }
}
