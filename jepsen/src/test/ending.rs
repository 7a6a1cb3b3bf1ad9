//! The last questions, once everything is healed and clients are quiet.

use std::{collections::BTreeMap, fs, io, path::Path, process::Command, time::Duration};

use serde_json::Value;

use super::{
    run::{Export, NodeEnding},
    worker::{list_sessions, read_session},
};
use crate::db::{cluster::Cluster, node::Node, process};

const READ_WITHIN: Duration = Duration::from_secs(5);
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// Nodes write now and then by themselves; two exports at one revision take some tries.
const EXPORT_TRIES: u32 = 6;

/// What every member says of every session.
///
/// # Errors
/// The question that was not answered.
pub async fn collect(cluster: &Cluster, sessions: &[String]) -> io::Result<Vec<NodeEnding>> {
    let mut endings = Vec::new();
    for node in cluster.members() {
        let mut read = BTreeMap::new();
        for session in sessions {
            let answer = read_session(node.place.control, session, READ_WITHIN).await;
            let answer = answer.map_err(|told| {
                io::Error::other(format!("{} did not answer for {session}: {told}", node.name))
            })?;
            read.insert(session.clone(), answer);
        }
        let listed = list_sessions(node.place.control, READ_WITHIN).await;
        let listed = listed.map_err(|told| {
            io::Error::other(format!("{} did not list its sessions: {told}", node.name))
        })?;
        endings.push(NodeEnding { name: node.name.clone(), sessions: read, listed, export: None });
    }
    Ok(endings)
}

/// Exports the state of every member until all are at one revision, or tries are used up.
///
/// # Errors
/// Where a backup cannot be made or read.
pub async fn export_all(cluster: &Cluster, endings: &mut [NodeEnding]) -> io::Result<()> {
    for _ in 0..EXPORT_TRIES {
        let mut revisions = Vec::new();
        for ending in &mut *endings {
            let members = cluster.members();
            let Some(node) = members.iter().find(|node| node.name == ending.name) else { continue };
            let export = export(cluster, node).await?;
            revisions.push(export.revision);
            ending.export = Some(export);
        }
        if revisions.windows(2).all(|pair| pair[0] == pair[1]) {
            break;
        }
    }
    Ok(())
}

async fn export(cluster: &Cluster, node: &Node) -> io::Result<Export> {
    let file = node.home.join("ending.backup");
    let _ = fs::remove_file(&file);
    let path = file.display().to_string();
    cluster.operate(node, &["backup", "create", &path]).await?;
    let text = exported(&cluster.program, &file).await?;
    fs::remove_file(&file)?;
    Ok(summary(&text))
}

async fn exported(program: &Path, file: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(["backup", "export"]).arg(file).env_clear();
    process::run(command, COMMAND_WITHIN).await
}

/// The revision that the export names, and a hash of all of it.
fn summary(text: &str) -> Export {
    let revision = text.lines().take(8).find_map(revision_of).unwrap_or(0);
    let lines = u64::try_from(text.lines().count()).unwrap_or(0);
    Export { revision, hash: fingerprint(text.as_bytes()), lines }
}

fn revision_of(line: &str) -> Option<u64> {
    let value: Value = serde_json::from_str(line).ok()?;
    value["revision"].as_u64()
}

fn fingerprint(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
