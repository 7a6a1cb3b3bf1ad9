//! `export`: a stored history in the forms of other checkers.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use clap::Args;

use super::{CliError, Ended, print};
use crate::{
    export::{edn, porcupine},
    test::run::Run,
};

#[derive(Args)]
pub(super) struct Export {
    /// Directory of a stored test
    #[arg(value_name = "STORE_DIR")]
    store: PathBuf,
    /// `history.edn`: Jepsen's op maps, for Knossos
    #[arg(long, required_unless_present = "porcupine")]
    edn: bool,
    /// `porcupine.jsonl`: events for the program in jepsen/porcupine
    #[arg(long)]
    porcupine: bool,
}

impl Export {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let run = Run::load(&self.store)?;
        if self.edn {
            let path = self.store.join("history.edn");
            let mut out = BufWriter::new(File::create(&path)?);
            edn::write(&run.events, &mut out)?;
            out.flush()?;
            print::line(&path.display().to_string())?;
        }
        if self.porcupine {
            let path = self.store.join("porcupine.jsonl");
            let mut out = BufWriter::new(File::create(&path)?);
            porcupine::write(&run, &mut out)?;
            out.flush()?;
            print::line(&path.display().to_string())?;
        }
        Ok(Ended::Done)
    }
}
