//! Bits that flip while a node is down, in every kind of file that it has; a log without its tail;
//! a file that is gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::{DAMAGED, DISK_FAILED, REFUSED, recover};
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Planned, Target},
};

const ANY: &[Target] = &[Target::One, Target::Leader];
const SHORT: (u64, u64) = (100, 800);

pub(super) const FORMS: &[Form] = &[
    Form { word: "log-wal", targets: ANY, for_ms: SHORT },
    Form { word: "log-sst", targets: ANY, for_ms: SHORT },
    Form { word: "state-sst", targets: ANY, for_ms: SHORT },
    Form { word: "state-wal", targets: ANY, for_ms: SHORT },
    Form { word: "manifest", targets: ANY, for_ms: SHORT },
    Form { word: "current", targets: ANY, for_ms: SHORT },
    Form { word: "mark", targets: ANY, for_ms: SHORT },
    Form { word: "snapshot", targets: ANY, for_ms: SHORT },
    Form { word: "identity", targets: ANY, for_ms: SHORT },
    Form { word: "log-wal-cut", targets: ANY, for_ms: SHORT },
    Form { word: "log-sst-gone", targets: ANY, for_ms: SHORT },
];

const BECAUSE: &str = "corrupt";

pub(super) async fn begin(
    planned: &Planned,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    node.kill(BECAUSE).await;
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
    let data = node.storage.data();
    let spoiled = files(&data).map_err(FaultOutcome::indeterminate).and_then(|files| {
        let fit: Vec<&PathBuf> =
            files.iter().filter(|file| is_of(&planned.form, &data, file)).collect();
        let file = fit.choose(&mut random).ok_or_else(|| {
            FaultOutcome::skipped(format!("the node has no file of the kind {}", planned.form))
        })?;
        let what = spoil(&planned.form, file, &mut random).map_err(FaultOutcome::indeterminate)?;
        let name = file.strip_prefix(&data).unwrap_or(file).display().to_string();
        Ok((name, what))
    });
    match spoiled {
        Ok((name, what)) => {
            active.note("file", json!(name));
            active.note("what", json!(what));
            Ok(())
        }
        Err(outcome) => {
            node.start().map_err(FaultOutcome::indeterminate)?;
            Err(outcome)
        }
    }
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let came_back =
        recover::start(cluster, node, (BECAUSE, &[DAMAGED, DISK_FAILED, REFUSED]), active).await?;
    if came_back {
        node.expect_life();
    }
    Ok(FaultOutcome::Bit)
}

/// Of all files below it, those with something in them.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() && 0 < entry.metadata()?.len() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_of(form: &str, data: &Path, file: &Path) -> bool {
    let inner = file.strip_prefix(data).unwrap_or(file);
    let room = inner.iter().next().and_then(|room| room.to_str()).unwrap_or_default();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends =
        |suffix: &str| Path::new(name).extension().is_some_and(|extension| extension == suffix);
    let (is_log, is_state) = (room == "raft", room.starts_with("state."));
    match form {
        "log-wal" | "log-wal-cut" => is_log && ends("log"),
        "log-sst" | "log-sst-gone" => is_log && ends("sst"),
        "state-wal" => is_state && ends("log"),
        "state-sst" => is_state && ends("sst"),
        "manifest" => (is_log || is_state) && name.starts_with("MANIFEST"),
        "current" => name == "CURRENT" || name == "CURRENT-STATE",
        "mark" => name == "ACKNOWLEDGED",
        "snapshot" => room == "snapshots",
        "identity" => name == "IDENTITY" && inner.components().count() == 1,
        _ => false,
    }
}

fn spoil(form: &str, file: &Path, random: &mut ChaCha8Rng) -> io::Result<String> {
    if form == "log-sst-gone" {
        fs::remove_file(file)?;
        return Ok(String::from("removed"));
    }
    let mut bytes = fs::read(file)?;
    let at = random.random_range(0..bytes.len());
    if form == "log-wal-cut" {
        bytes.truncate(at);
        fs::write(file, &bytes)?;
        return Ok(format!("cut to {at} bytes"));
    }
    let bit = random.random_range(0..8_u8);
    bytes[at] ^= 1 << bit;
    fs::write(file, &bytes)?;
    Ok(format!("bit {bit} of byte {at} flipped"))
}
