//! `synckairos backup export`: a state as text, from a backup or from a node that is stopped.

use std::{
    io::{self, BufWriter, Write, stdout},
    path::{Path, PathBuf},
};

use clap::ArgGroup;
use synckairos_raft_store::{
    Identity, OpenError, Opened, Options, Store,
    backup::{self, BackupError, Row},
};
use tokio::sync::mpsc;

use super::with_code;
use crate::{
    backup::export::{self as form, Head},
    cli::CliError,
};

#[derive(clap::Args)]
#[command(group = ArgGroup::new("state").required(true))]
pub(super) struct Export {
    /// A backup
    #[arg(group = "state")]
    file: Option<PathBuf>,
    /// The data directory of a node that does not run
    #[arg(long, value_name = "DIR", group = "state")]
    data_dir: Option<PathBuf>,
}

/// There is no export. The message says what to do.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("no node has ever run in {}; name the data directory of one", .0.display())]
    NoNode(PathBuf),
    #[error(
        "the node of {} runs; stop it, or export a backup of it (`synckairos backup create`)",
        .0.display()
    )]
    Running(PathBuf),
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("cannot print the state: {0}")]
    Print(#[from] io::Error),
}

impl Export {
    pub(super) fn run(self) -> Result<(), CliError> {
        let output = BufWriter::new(stdout().lock());
        let exported = match (&self.file, &self.data_dir) {
            (Some(file), _) => of_backup(file, output),
            (None, data_dir) => of_node(&data_dir.clone().unwrap_or_default(), output),
        };
        exported.map_err(|error| {
            if let ExportError::Backup(error) = error { with_code(error) } else { error.into() }
        })
    }
}

/// Nothing is printed of a backup that is damaged.
fn of_backup(file: &Path, output: impl Write) -> Result<(), ExportError> {
    let manifest = backup::verify(file)?;
    let mut export = form::Export::begin(output, &Head::of(&manifest))?;
    backup::read(file, |row| {
        match row {
            Row::Session(session) => export.session(session)?,
            Row::Answer(number, record) => export.answer(number, record)?,
        }
        Ok::<_, ExportError>(())
    })?;
    Ok(export.finish()?)
}

/// As the node itself would begin with it.
fn of_node(data_dir: &Path, output: impl Write) -> Result<(), ExportError> {
    let identity = Identity::of(data_dir).map_err(ExportError::Open)?;
    let identity = identity.ok_or_else(|| ExportError::NoNode(data_dir.to_owned()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        // Nothing is applied, so nothing is told.
        let (sink, _untold) = mpsc::channel(1);
        let options =
            Options { data_dir: data_dir.to_owned(), identity, sink, resume_window: u64::MAX };
        let opened = Store::open(options).map_err(|error| {
            if let OpenError::InUse { directory } = error {
                ExportError::Running(directory)
            } else {
                ExportError::Open(error)
            }
        })?;
        let Opened { log, state, applied, inbox, fatal, closed, .. } = opened;
        let written = form::write_applied(&applied, output);
        drop((log, state, applied, inbox, fatal));
        closed.wait().await;
        Ok(written?)
    })
}
