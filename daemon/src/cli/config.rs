//! `synckairos config show`: what a node would run with.

use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{Table, presets::NOTHING};

use super::{CliError, Output, print, print_json};
use crate::config::{self, Flags, show};

#[derive(clap::Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value and where it came from
    Show {
        /// The node's configuration, TOML
        #[arg(long, value_name = "FILE", env = "SYNCKAIROS_CONFIG_FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        flags: Flags,
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
}

impl Config {
    pub(super) fn run(self) -> Result<(), CliError> {
        let ConfigCommand::Show { config: file, flags, output } = self.command;
        // What cannot run can be looked at all the same: checks come with `serve`.
        let (config, figment) = config::read(file.as_deref(), &flags)?;
        let settings = show::settings(&figment, &config)?;
        if output == Output::Json {
            return print_json(&settings);
        }
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["key", "value", "source"]);
        for setting in &settings {
            table.add_row([&setting.key, &setting.value.to_string(), &setting.source]);
        }
        print(table.trim_fmt())
    }
}
