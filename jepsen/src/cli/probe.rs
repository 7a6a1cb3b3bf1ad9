//! `probe`: what this machine lets the suite do.

use std::path::PathBuf;

use clap::Args;
use comfy_table::Table;

use super::{CliError, Ended, print, program};
use crate::env::probe::probe;

#[derive(Args)]
pub(super) struct Probe {
    /// The program under test [default: this workspace's]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

impl Probe {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let bin = program::find(self.bin)?;
        let mut table = Table::new();
        table.set_header(["mechanism", "available", "why", "note"]);
        for capability in probe(Some(&bin)) {
            let available = if capability.available { "yes" } else { "no" };
            table.add_row([
                capability.name.to_owned(),
                available.to_owned(),
                capability.why.unwrap_or_default(),
                capability.note.to_owned(),
            ]);
        }
        print::line(&table.to_string())?;
        Ok(Ended::Done)
    }
}
