//! `synckairos backup verify`: is a backup whole, and what is in it?

use std::{fs, path::PathBuf};

use synckairos_raft_store::backup;

use super::{show, with_code};
use crate::cli::{CliError, Output};

#[derive(clap::Args)]
pub(super) struct Verify {
    /// A backup
    file: PathBuf,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), CliError> {
        let manifest = backup::verify(&self.file).map_err(with_code)?;
        let bytes = fs::metadata(&self.file)?.len();
        show::show(&self.file, &manifest, bytes, self.output)
    }
}
