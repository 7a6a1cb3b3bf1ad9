//! Who runs where, and in which role: asked of the nodes themselves.

use std::{path::Path, time::Duration};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::{Deserialize, Serialize};

use super::running::{Running, RunningNode};
use crate::cli::{self, CliError, Output};

/// A node on this machine that has not answered by then is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) nodes: Vec<NodeRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct NodeRow {
    pub(super) id: u64,
    pub(super) http: String,
    pub(super) peer: String,
    pub(super) pid: Option<u32>,
    /// `leader`, `follower`, `candidate`, `learner`, or `down` for a node that does not answer.
    pub(super) role: String,
}

/// The part of `GET /v1/node` that is shown.
#[derive(Deserialize)]
struct Role {
    role: String,
}

pub(super) async fn print(data_dir: &Path, output: Output) -> Result<(), CliError> {
    let status = of(&Running::read(data_dir)?).await?;
    match output {
        Output::Json => cli::print_json(&status),
        Output::Text => cli::print(status.table()),
    }
}

/// Asks every node for its role, all at once.
pub(super) async fn of(running: &Running) -> Result<Status, CliError> {
    let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build()?;
    let rows = running.nodes.iter().map(|node| row(&http, node));
    Ok(Status { nodes: futures_util::future::join_all(rows).await })
}

async fn row(http: &reqwest::Client, node: &RunningNode) -> NodeRow {
    let role = match node.pid {
        Some(_) => ask(http, &node.http).await.unwrap_or_else(|_| String::from("down")),
        None => String::from("down"),
    };
    NodeRow { id: node.id, http: node.http.clone(), peer: node.peer.clone(), pid: node.pid, role }
}

async fn ask(http: &reqwest::Client, address: &str) -> reqwest::Result<String> {
    let answer = http.get(format!("http://{address}/v1/node")).send().await?;
    Ok(answer.error_for_status()?.json::<Role>().await?.role)
}

impl Status {
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header(["node", "clients (HTTP, WebSocket)", "peers (QUIC)", "pid", "role"]);
        for node in &self.nodes {
            table.add_row([
                node.id.to_string(),
                format!("http://{}", node.http),
                node.peer.clone(),
                node.pid.map_or_else(|| String::from("-"), |pid| pid.to_string()),
                node.role.clone(),
            ]);
        }
        table
    }
}
