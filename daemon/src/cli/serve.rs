//! `synckairos serve`: one node, in the foreground, until a signal.

use std::path::PathBuf;

use super::CliError;
use crate::{
    config::{self, Flags},
    node, telemetry,
};

#[derive(clap::Args)]
pub(super) struct Serve {
    /// The node's configuration, TOML
    #[arg(long, value_name = "FILE", env = "SYNCKAIROS_CONFIG_FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), CliError> {
        if self.exit_with_parent {
            let signal = rustix::process::Signal::TERM;
            rustix::process::set_parent_process_death_signal(Some(signal))?;
        }
        let config = config::load(self.config.as_deref(), &self.flags)?;
        telemetry::logging::init(&config.log.level, config.log.format)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = runtime.block_on(node::run(config));
        // What still runs then has had its time to end.
        runtime.shutdown_background();
        Ok(result?)
    }
}
