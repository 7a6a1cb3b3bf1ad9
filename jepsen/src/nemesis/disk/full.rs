//! A disk without room.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use super::{DISK_FAILED, recover};
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Target},
    test::plan::DiskKind,
};

pub(super) const FORMS: &[Form] = &[
    Form { word: "full", targets: &[Target::Leader], for_ms: (1_000, 5_000) },
    Form { word: "full", targets: &[Target::Followers, Target::One], for_ms: (1_000, 5_000) },
];

const BECAUSE: &str = "disk-full";
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const BLOCK: usize = 1 << 20;

pub(super) fn begin(node: &Node, active: &mut Active) -> Result<(), FaultOutcome> {
    if node.storage.kind() == DiskKind::Plain {
        return Err(FaultOutcome::skipped(
            "needs a disk of its own: --disk tmpfs, loop-ext4 or loop-xfs",
        ));
    }
    node.expect_end(BECAUSE, &[DISK_FAILED]);
    let bytes = fill(&ballast(node)).map_err(FaultOutcome::indeterminate)?;
    active.note("filled_bytes", json!(bytes));
    Ok(())
}

/// Down to single bytes: a database asks for little at a time.
fn fill(file: &PathBuf) -> io::Result<u64> {
    let (mut file, mut written, mut size) = (fs::File::create(file)?, 0_u64, BLOCK);
    let block = vec![7_u8; BLOCK];
    while 0 < size {
        match file.write(&block[..size]) {
            Ok(0) => size /= 2,
            Ok(bytes) => written += u64::try_from(bytes).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => size /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let told = node.ask("/ready").await;
    active.note("said", json!(told.map(|(_, body)| body)));
    fs::remove_file(ballast(node))?;
    // One whose last sync failed is on its way out.
    let ended = !node.runs() || (!node.is_ready().await && node.await_end(ENDS_WITHIN / 10).await);
    active.note("ended", json!(ended));
    recover::start(cluster, node, (BECAUSE, &[DISK_FAILED]), active).await?;
    node.expect_life();
    let filled = active.evidence.get("filled_bytes").and_then(serde_json::Value::as_u64);
    Ok(FaultOutcome::seen(filled.is_some_and(|bytes| 0 < bytes), "the disk had no room before"))
}

fn ballast(node: &Node) -> PathBuf {
    node.storage.mounted_at().join("ballast")
}
