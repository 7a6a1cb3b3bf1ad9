//! What an operator types on a node's machine.

use std::{io, process::Command, time::Duration};

use serde_json::Value;

use super::{cluster::Cluster, node::Node, process};

const COMMAND_WITHIN: Duration = Duration::from_secs(20);

impl Cluster {
    /// `synckairos ARGUMENTS --data-dir <node's>`; what it printed.
    ///
    /// # Errors
    /// What it says.
    pub async fn operate(&self, node: &Node, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--data-dir").arg(node.storage.data()).env_clear();
        process::run(command, COMMAND_WITHIN).await
    }

    /// The same, printed as JSON.
    ///
    /// # Errors
    /// What it says.
    pub async fn operate_json(&self, node: &Node, arguments: &[&str]) -> io::Result<Value> {
        let printed = self.operate(node, &[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&printed).map_err(io::Error::from)
    }
}
