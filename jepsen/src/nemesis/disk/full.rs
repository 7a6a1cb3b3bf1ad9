//! A disk without room: filled to the last byte, or where it is shared with others, writes that are
//! told so.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;

use super::{DISK_FAILED, recover, tracer};
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Seen, Target},
    test::plan::DiskKind,
};

pub(super) const FORMS: &[Form] = &[
    Form { word: "full", targets: &[Target::Leader], for_ms: (1_000, 5_000) },
    Form { word: "full", targets: &[Target::Followers, Target::One], for_ms: (1_000, 5_000) },
];

const BECAUSE: &str = "disk-full";
/// One whose last write failed is on its way out.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const BLOCK: usize = 1 << 20;
const NOT_READY: &str = "times_not_ready";

pub(super) async fn begin(node: &Arc<Node>, active: &mut Active) -> Result<(), FaultOutcome> {
    node.expect_end(BECAUSE, &[DISK_FAILED]);
    if node.storage.kind() == DiskKind::Plain {
        let files = tracer::log_files(&node.storage.data()).map_err(FaultOutcome::indeterminate)?;
        let spoil =
            tracer::Spoil { calls: tracer::WRITES, how: "error=ENOSPC:when=1+", files: &files };
        let tracer = tracer::attach(node, &spoil).await.map_err(|error| {
            node.expect_life();
            FaultOutcome::skipped(error.to_string())
        })?;
        active.helpers.push(tracer);
    } else {
        let bytes = fill(&ballast(node)).map_err(|error| {
            // What was written of it must not stay.
            let _ = fs::remove_file(ballast(node));
            FaultOutcome::indeterminate(error)
        })?;
        active.note("filled_bytes", bytes);
    }
    active.tasks.push(tokio::spawn(watch(Arc::clone(node), active.seen.clone())));
    Ok(())
}

/// Down to single bytes: a database asks for little at a time.
fn fill(file: &Path) -> io::Result<u64> {
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
    // Room is given out late on some file systems: this way it is taken now.
    match file.sync_all() {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
        Ok(()) | Err(_) => Ok(written),
    }
}

/// What the node says of itself meanwhile.
async fn watch(node: Arc<Node>, seen: Seen) {
    loop {
        if let Some((status, body)) = node.ask("/ready").await
            && status != 200
        {
            seen.count(NOT_READY);
            seen.set("said", body);
        }
        sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    tracer::detach(&mut active.helpers).await;
    let failed = if node.storage.kind() == DiskKind::Plain {
        let failed = tracer::spoiled(node);
        active.note("failed_calls", failed);
        failed
    } else {
        fs::remove_file(ballast(node))?;
        0
    };
    let ended = node.await_end(ENDS_WITHIN).await;
    active.note("ended", ended);
    let code = node.exits().last().filter(|_| ended).and_then(|exit| exit.code);
    active.note("ended_with", json!(code));
    if 0 < failed && !ended {
        active.note(super::WENT_ON, true);
    }
    recover::start(cluster, node, (BECAUSE, &[DISK_FAILED]), active).await?;
    let seen = ended || active.evidence.contains_key(NOT_READY);
    Ok(FaultOutcome::seen(seen, "the node neither ended nor said that it has no room"))
}

fn ballast(node: &Node) -> PathBuf {
    node.storage.mounted_at().join("ballast")
}
