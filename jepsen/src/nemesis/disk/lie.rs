//! A disk that says that it synced, and did not, then loses its power. What its node promised is
//! gone, and it may not vote as if it were not.

use std::{collections::BTreeMap, fs, io, sync::Arc, time::Duration};

use rustix::process::Signal;
use serde_json::json;

use super::{DAMAGED, DISK_FAILED, recover, tracer};
use crate::{
    db::{cluster::Cluster, node::Node},
    env::probe,
    nemesis::{Active, FaultOutcome, Form, Target},
};

pub(super) const FORMS: &[Form] = &[
    Form { word: "forgets", targets: &[Target::Followers, Target::One], for_ms: (1_500, 5_000) },
    Form { word: "forgets", targets: &[Target::Leader], for_ms: (1_500, 5_000) },
];

const BECAUSE: &str = "lying-disk";
const PRELOAD: &str = "LD_PRELOAD";
const LIAR: &str = "libeatmydata.so";
const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn begin(
    cluster: &Cluster,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    if !node.storage.has_power() {
        return Err(FaultOutcome::skipped("needs --disk loop-ext4 or loop-xfs, which needs root"));
    }
    let can_lie = probe::one("eatmydata").is_some_and(|capability| capability.available);
    if !can_lie {
        return Err(FaultOutcome::skipped("eatmydata is not installed"));
    }
    node.terminate(BECAUSE, ENDS_WITHIN).await;
    node.set_environment(PRELOAD, Some(LIAR));
    let started = node.start();
    node.set_environment(PRELOAD, None);
    started.map_err(FaultOutcome::indeterminate)?;
    recover::await_all(cluster).await.map_err(FaultOutcome::indeterminate)?;
    active.note("lies", json!(LIAR));
    Ok(())
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let had = node.ask("/v1/node").await.map(|(_, told)| told["last_log"].clone());
    active.note("had", json!(had));
    node.expect_end(BECAUSE, &[DISK_FAILED]);
    let before = prints(node)?;
    node.storage.power_off().await?;
    node.signal(Signal::KILL);
    node.await_end(ENDS_WITHIN).await;
    node.storage.power_on().await?;
    let after = prints(node)?;
    let forgotten: Vec<&String> = before
        .iter()
        .filter(|(name, print)| after.get(*name) != Some(*print))
        .map(|(name, _)| name)
        .collect();
    let forgot = !forgotten.is_empty();
    active.note("forgot", json!(forgotten));
    recover::start(cluster, node, (BECAUSE, &[DAMAGED, DISK_FAILED]), active).await?;
    Ok(FaultOutcome::seen(forgot, "the disk kept what it had not synced"))
}

/// The files of the log: each one's length and a hash.
fn prints(node: &Node) -> io::Result<BTreeMap<String, (usize, String)>> {
    let mut prints = BTreeMap::new();
    for file in tracer::log_files(&node.storage.data())? {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let print = match fs::read(&file) {
            Ok(bytes) => (bytes.len(), blake3::hash(&bytes).to_hex().to_string()),
            // The last that was really synced may be from before there was such a file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        prints.extend(name.map(|name| (name, print)));
    }
    Ok(prints)
}
