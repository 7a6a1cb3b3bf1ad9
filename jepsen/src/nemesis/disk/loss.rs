//! A data directory that is lost, replaced by an old copy of itself, or by another node's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use super::{DAMAGED, DISK_FAILED, REFUSED, recover};
use crate::{
    db::{cluster::Cluster, node::Node, process},
    nemesis::{Active, FaultOutcome, Form, Planned, Target},
};

const WIPED: &str = "wiped";
const OLD_COPY: &str = "old-copy";
const FOREIGN: &str = "foreign";
const ANY: &[Target] = &[Target::One, Target::Leader];

pub(super) const FORMS: &[Form] = &[
    Form { word: WIPED, targets: ANY, for_ms: (300, 2_000) },
    Form { word: OLD_COPY, targets: ANY, for_ms: (1_000, 5_000) },
    Form { word: FOREIGN, targets: ANY, for_ms: (300, 1_000) },
];

const BECAUSE: &str = "data-loss";
const COPIED_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn begin(
    planned: &Planned,
    cluster: &Cluster,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    node.kill(BECAUSE).await;
    match planned.form.as_str() {
        OLD_COPY => {
            let copied = copy(&node.storage.data(), &aside(node)).await;
            // It works on, and what it does from here on will be forgotten.
            node.start().map_err(FaultOutcome::indeterminate)?;
            copied.map_err(FaultOutcome::indeterminate)?;
            recover::await_all(cluster).await.map_err(FaultOutcome::indeterminate)?;
        }
        FOREIGN => {
            let members = cluster.members();
            let other = members.iter().find(|other| other.id != node.id);
            let other = other.ok_or_else(|| FaultOutcome::skipped("there is no other node"))?;
            other.kill(BECAUSE).await;
            let copied = copy(&other.storage.data(), &aside(node)).await;
            other.start().map_err(FaultOutcome::indeterminate)?;
            copied.map_err(FaultOutcome::indeterminate)?;
            active.note("of", json!(other.name));
        }
        _ => {}
    }
    Ok(())
}

pub(super) async fn end(
    cluster: &Cluster,
    planned: &Planned,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let had = node.ask("/v1/node").await.map(|(_, told)| told["last_log"].clone());
    active.note("had", json!(had));
    node.kill(BECAUSE).await;
    fs::remove_dir_all(node.storage.data())?;
    if planned.form != WIPED {
        copy(&aside(node), &node.storage.data()).await?;
        fs::remove_dir_all(aside(node))?;
    }
    let came_back =
        recover::start(cluster, node, (BECAUSE, &[DAMAGED, DISK_FAILED, REFUSED]), active).await?;
    if came_back {
        node.expect_life();
    }
    Ok(match (planned.form.as_str(), came_back) {
        (FOREIGN, true) => {
            FaultOutcome::Unseen(String::from("it took another node's data for its own"))
        }
        (_, _) => FaultOutcome::Bit,
    })
}

fn aside(node: &Node) -> PathBuf {
    node.home.join("aside")
}

async fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut command = Command::new("cp");
    // Without the control socket, which belongs to the process.
    command.arg("-a").arg(from).arg(to);
    process::run(command, COPIED_WITHIN).await?;
    let _ = fs::remove_file(to.join("admin.sock"));
    Ok(())
}
