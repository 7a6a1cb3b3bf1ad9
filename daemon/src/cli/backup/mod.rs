//! `synckairos backup`: a cluster's state in a file, and a new cluster from it.

mod create;
mod export;
mod restore;
mod show;
mod verify;

use clap::Subcommand;
use synckairos_raft_store::backup::BackupError;

use super::{CliError, exit::EndsWith};

/// EX_DATAERR.
const EXIT_DAMAGED: u8 = 65;

#[derive(clap::Args)]
pub(super) struct Backup {
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Write the state of a running cluster into a file
    ///
    /// Everything that was acknowledged before is in it. It is read back before it gets its name.
    Create(create::Create),
    /// Read all of a backup and say what it is
    ///
    /// Ends with 65 when it is damaged.
    Verify(verify::Verify),
    /// Print a state in a canonical form, so that two can be compared byte for byte
    ///
    /// JSON lines: the revision, cluster time and format level; every session, ordered by id;
    /// every answer that is kept for retries. What belongs to the cluster is left out: its id, its
    /// members, its tokens.
    Export(export::Export),
    /// Begin a new cluster with the state of a backup
    ///
    /// The new cluster has an id and certificates of its own and one node; others join it.
    Restore(restore::Restore),
}

impl Backup {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.command {
            BackupCommand::Create(create) => create.run(),
            BackupCommand::Verify(verify) => verify.run(),
            BackupCommand::Export(export) => export.run(),
            BackupCommand::Restore(restore) => restore.run(),
        }
    }
}

/// The error with its exit code: damage has one of its own.
fn with_code(error: BackupError) -> CliError {
    if error.is_damage() {
        EndsWith { code: EXIT_DAMAGED, message: error.to_string() }.into()
    } else {
        error.into()
    }
}
