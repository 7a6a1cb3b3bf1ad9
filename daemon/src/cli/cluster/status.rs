//! `synckairos cluster status`: asks one node how the cluster is, and shows what it says.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::ArgGroup;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    admin,
    cli::{CliError, Output, dev, exit::EndsWith, print, print_json},
    config::{self, Flags},
    health::status::{ClusterStatus, Health, NodeDetails, NodeStatus, View},
};

const DEFAULT_URL: &str = "http://127.0.0.1:3000";
/// A node that waits for others that do not answer takes a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const EXIT_DEGRADED: u8 = 10;
const EXIT_NO_QUORUM: u8 = 11;
const EXIT_UNREACHABLE: u8 = 12;

#[derive(clap::Args)]
#[command(group = ArgGroup::new("node").multiple(false))]
pub(super) struct Status {
    /// The client port of a node [default: http://127.0.0.1:3000]
    #[arg(long, value_name = "URL", group = "node")]
    url: Option<String>,
    /// The data directory of a node on this machine, or that of `synckairos dev`
    #[arg(long, value_name = "DIR", group = "node")]
    data_dir: Option<PathBuf>,
    /// The configuration of a node on this machine
    #[arg(long, value_name = "FILE", group = "node")]
    config: Option<PathBuf>,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// Where a node is asked.
enum Door {
    Port(String),
    /// The socket for operators, in the node's data directory.
    Socket(PathBuf),
}

impl Status {
    pub(super) fn run(self) -> Result<(), CliError> {
        let output = self.output;
        let doors = self.doors()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let status = runtime.block_on(ask_one_of(&doors))?;
        match output {
            Output::Json => print_json(&status)?,
            Output::Text => show(&status)?,
        }
        let (code, word) = match status.health {
            Health::Healthy => return Ok(()),
            Health::Degraded => (EXIT_DEGRADED, "DEGRADED"),
            Health::NoQuorum => (EXIT_NO_QUORUM, "without a QUORUM"),
        };
        let message = format!("the cluster is {word}: {}", status.summary);
        Err(EndsWith { code, message }.into())
    }

    fn doors(self) -> Result<Vec<Door>, CliError> {
        if let Some(dir) = self.data_dir {
            // Nodes for trying things out are many to a directory, and any of them will do.
            let ports = dev::running_ports(&dir);
            if ports.is_empty() {
                return Ok(vec![Door::Socket(dir.join(admin::SOCKET))]);
            }
            return Ok(ports
                .into_iter()
                .map(|port| Door::Port(format!("http://{port}")))
                .collect());
        }
        let url = match (self.url, self.config) {
            (Some(url), _) => url,
            (None, Some(file)) => {
                let (config, _) = config::read(Some(&file), &Flags::default())?;
                let mut listen = config.http.listen;
                // A node that listens everywhere listens here.
                if listen.ip().is_unspecified() {
                    listen.set_ip(match listen.ip() {
                        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
                    });
                }
                format!("http://{listen}")
            }
            (None, None) => String::from(DEFAULT_URL),
        };
        Ok(vec![Door::Port(url)])
    }
}

/// The word of the first node that answers.
async fn ask_one_of(doors: &[Door]) -> Result<ClusterStatus, CliError> {
    let mut failures = Vec::new();
    for door in doors {
        match ask(door).await {
            Ok(status) => return Ok(status),
            Err(failure) => failures.push(failure),
        }
    }
    let message = format!("{}; is the node running, and is this its address?", failures.join("; "));
    Err(EndsWith { code: EXIT_UNREACHABLE, message }.into())
}

async fn ask(door: &Door) -> Result<ClusterStatus, String> {
    let mut client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy();
    let (place, url) = match door {
        Door::Port(url) => (url.clone(), url.trim_end_matches('/')),
        Door::Socket(path) => {
            client = client.unix_socket(path.as_path());
            (path.display().to_string(), "http://node")
        }
    };
    let failed = |error: reqwest::Error| format!("no answer from {place}: {}", root_cause(&error));
    let client = client.build().map_err(failed)?;
    let answer = client.get(format!("{url}/v1/cluster/status")).send().await.map_err(failed)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("{place} answered {status}; is it a node of this version?"));
    }
    let body = answer.text().await.map_err(failed)?;
    serde_json::from_str(&body)
        .map_err(|error| format!("{place} answered what is no cluster status: {error}"))
}

/// The error at the bottom says what happened, those above it only where.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

fn show(status: &ClusterStatus) -> Result<(), CliError> {
    print(format_args!("{}: {}", status.health.as_str(), status.summary))?;
    let leader = status.leader.map_or_else(|| String::from("none"), |leader| leader.to_string());
    let seen = match status.view {
        View::Cluster => "",
        View::SomeNodes => ", as few nodes see it",
        View::ThisNodeOnly => ", as this node alone sees it",
    };
    print(format_args!(
        "cluster {}, leader {leader}, term {}, format level {}, {} sessions; asked node {}{seen}",
        status.cluster_id, status.term, status.level, status.sessions, status.asked
    ))?;
    print(table(status))?;
    let of_nodes = status.nodes.iter().flat_map(|node| {
        node.warnings.iter().map(move |warning| format!("node {}: {warning}", node.id))
    });
    for warning in status.warnings.iter().cloned().chain(of_nodes) {
        print(format_args!("! {warning}"))?;
    }
    Ok(())
}

fn table(status: &ClusterStatus) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header([
        "node",
        "role",
        "clients",
        "peers",
        "applied",
        "lag",
        "heard",
        "clock",
        "disk free",
        "version",
        "cert",
    ]);
    for node in &status.nodes {
        table.add_row(row(node));
    }
    table
}

fn row(node: &NodeStatus) -> Vec<String> {
    let kind = if node.voter { "" } else { " (no voter)" };
    let role = if node.reached { node.role.as_str() } else { "unreachable" };
    let mut row = vec![node.id.to_string(), format!("{role}{kind}"), node.http.clone()];
    row.push(node.peer.clone());
    match &node.details {
        Some(details) => row.extend(cells(details)),
        None => row.extend((0..7).map(|_| String::from("-"))),
    }
    row
}

fn cells(details: &NodeDetails) -> [String; 7] {
    let ago = |ms: u64| format!("{ms} ms ago");
    [
        details.applied.to_string(),
        details.lag_entries.to_string(),
        details.last_contact_ms.map_or_else(|| String::from("never"), ago),
        format!("{:+} ms", details.wall_offset_ms.saturating_neg()),
        mebibytes(details.disk_free_bytes),
        details.version.clone(),
        format!("{} days", details.certificate_days_left),
    ]
}

fn mebibytes(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    match bytes / MIB {
        mib if mib < 10 * 1024 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib / 1024),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        status: Status,
    }

    #[test]
    fn one_node_is_asked_at_one_place() {
        let parse = |words: &[&str]| Line::try_parse_from([&["status"], words].concat());
        let doors = |words: &[&str]| parse(words).unwrap().status.doors().unwrap();
        let [Door::Port(url)] = &doors(&[])[..] else { panic!("a port by default") };
        assert_eq!(url, DEFAULT_URL);
        let [Door::Socket(path)] = &doors(&["--data-dir", "/nowhere/data"])[..] else {
            panic!("the socket in a data directory")
        };
        assert_eq!(path.to_str(), Some("/nowhere/data/admin.sock"));
        assert!(parse(&["--url", "http://a", "--data-dir", "b"]).is_err());
    }
}
