//! `synckairos dev`: a real cluster on loopback, one process a node, so that one can be killed.

mod layout;
mod running;
mod status;
mod supervisor;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, Output};
use layout::{Layout, Wanted};
use running::Running;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Dev {
    #[command(subcommand)]
    command: Option<DevCommand>,
    /// How many nodes: 1, 3, 5 or 7 [default: 3, or as the data directory has it]
    #[arg(long, value_name = "N")]
    nodes: Option<u16>,
    /// Where the cluster keeps its data, certificates and logs
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Begin anew: remove what an earlier run left in the data directory
    #[arg(long)]
    fresh: bool,
    /// Client port of the first node; the others follow [default: 3000, or as the data directory
    /// has it]
    #[arg(long, value_name = "PORT")]
    http_port_base: Option<u16>,
}

#[derive(Subcommand)]
enum DevCommand {
    /// Print addresses, pids and roles of the cluster that runs in a data directory
    Status {
        #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
        data_dir: PathBuf,
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
}

/// Where clients reach the nodes of the cluster that runs in `dir`; none where no such cluster does.
pub(super) fn running_ports(dir: &Path) -> Vec<String> {
    let nodes = Running::read(dir).map_or_else(|_| Vec::new(), |running| running.nodes);
    nodes.into_iter().filter(|node| node.pid.is_some()).map(|node| node.http).collect()
}

const DATA_DIR: &str = "synckairos-data";

impl Dev {
    pub(super) fn run(self) -> Result<(), CliError> {
        // One thread: the children are told to end with the thread that started them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if let Some(DevCommand::Status { data_dir, output }) = self.command {
            return runtime.block_on(status::print(&data_dir, output));
        }
        let wanted = Wanted { nodes: self.nodes, http_port_base: self.http_port_base };
        let layout = Layout::prepare(&self.data_dir, wanted, self.fresh)?;
        runtime.block_on(supervisor::run(&layout))
    }
}
