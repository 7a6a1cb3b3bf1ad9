//! A data directory that is lost, replaced by an old copy of itself, or by another node's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use super::{DAMAGED, DISK_FAILED, FORGOT_ALL, NOT_ITS_OWN, TOOK_FOREIGN, recover};
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
    // Whether it is found out depends on who leads when it comes back.
    Form { word: OLD_COPY, targets: &[Target::Followers, Target::Leader], for_ms: (1_000, 5_000) },
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
    note_position(node, "had", active).await;
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
    if node.runs() {
        note_position(node, "had", active).await;
    }
    node.kill(BECAUSE).await;
    fs::remove_dir_all(node.storage.data())?;
    if planned.form != WIPED {
        copy(&aside(node), &node.storage.data()).await?;
        fs::remove_dir_all(aside(node))?;
    }
    // An old copy is the node's own, so it may not be refused as something else's.
    let codes: &[i32] = if planned.form == OLD_COPY {
        &[DAMAGED, DISK_FAILED]
    } else {
        &[DAMAGED, DISK_FAILED, NOT_ITS_OWN]
    };
    let came_back = recover::start(cluster, node, (BECAUSE, codes), active).await?;
    match planned.form.as_str() {
        FOREIGN => active.note(TOOK_FOREIGN, came_back),
        WIPED => active.note(FORGOT_ALL, came_back),
        // It has its votes and entries, up to some moment.
        _ => {}
    }
    Ok(FaultOutcome::Bit)
}

async fn note_position(node: &Node, fact: &str, active: &mut Active) {
    let told = node.ask("/v1/node").await.map(|(_, told)| told["last_log"].clone());
    active.note(fact, json!(told));
}

fn aside(node: &Node) -> PathBuf {
    node.home.join("aside")
}

async fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        // Of a fault that was given up.
        fs::remove_dir_all(to)?;
    }
    let mut command = Command::new("cp");
    // Without the control socket, which belongs to the process.
    command.arg("-a").arg(from).arg(to);
    process::run(command, COPIED_WITHIN).await?;
    let _ = fs::remove_file(to.join("admin.sock"));
    Ok(())
}
