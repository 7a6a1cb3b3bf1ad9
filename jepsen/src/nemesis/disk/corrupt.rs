//! Bits that flip while a node is down, in every kind of file that it has; files without their end;
//! files that are gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::{DAMAGED, DISK_FAILED, recover};
use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::{Active, FaultOutcome, Form, Planned, Target, look},
};

const ANY: &[Target] = &[Target::One, Target::Leader];
const SHORT: (u64, u64) = (100, 800);

const fn form(word: &'static str) -> Form {
    Form { word, targets: ANY, for_ms: SHORT }
}

/// A kind of file, and where something else is done to it than to flip a bit, what.
pub(super) const FORMS: &[Form] = &[
    form("log-wal"),
    form("log-wal-cut"),
    form("log-sst"),
    form("state-sst"),
    form("mark"),
    form("snapshot"),
    form("state-wal"),
    form("manifest"),
    form("current"),
    form("log-sst-gone"),
    form("identity"),
    form("options"),
    form("peer-key"),
    form("manifest-gone"),
    form("snapshot-cut"),
    form("current-gone"),
];

const CUT: &str = "-cut";
const GONE: &str = "-gone";
const BECAUSE: &str = "corrupt";
const BACK_WITHIN: Duration = Duration::from_secs(12);
/// Much of some files is empty, and damage there is none.
const TRIES: u32 = 32;

pub(super) async fn begin(
    cluster: &Cluster,
    planned: &Planned,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    node.kill(BECAUSE).await;
    let mut spoiled = spoil_one(planned, node, active);
    if matches!(spoiled, Err(FaultOutcome::Skipped(_))) {
        // A start writes what is in the log's newest file to a table.
        node.start().map_err(FaultOutcome::indeterminate)?;
        look::await_caught_up(cluster, node, BACK_WITHIN).await;
        node.kill(BECAUSE).await;
        spoiled = spoil_one(planned, node, active);
    }
    if spoiled.is_err() {
        node.start().map_err(FaultOutcome::indeterminate)?;
    }
    spoiled
}

fn spoil_one(planned: &Planned, node: &Node, active: &mut Active) -> Result<(), FaultOutcome> {
    let mut random = ChaCha8Rng::seed_from_u64(planned.pick);
    let data = node.storage.data();
    let files = files(&data).map_err(FaultOutcome::indeterminate)?;
    let fit: Vec<&PathBuf> =
        files.iter().filter(|file| is_of(&planned.form, &data, file)).collect();
    let file = fit.choose(&mut random).ok_or_else(|| {
        FaultOutcome::skipped(format!("the node has no file of the kind {}", planned.form))
    })?;
    let before = print(file).map_err(FaultOutcome::indeterminate)?;
    let what = spoil(&planned.form, file, &mut random).map_err(FaultOutcome::indeterminate)?;
    let name = file.strip_prefix(&data).unwrap_or(file).display().to_string();
    active.note("file", name);
    active.note("what", what);
    active.note("hash_before", before);
    active.note("hash_after", json!(print(file).ok()));
    Ok(())
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let changed = active.evidence.get("hash_before") != active.evidence.get("hash_after");
    recover::start(cluster, node, (BECAUSE, &[DAMAGED, DISK_FAILED]), active).await?;
    Ok(FaultOutcome::seen(changed, "the file is as it was"))
}

/// Enough of a hash to see that a file changed.
fn print(file: &Path) -> io::Result<String> {
    let bytes = fs::read(file)?;
    Ok(blake3::hash(&bytes).to_hex().chars().take(16).collect())
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
    let kind = form.strip_suffix(CUT).or_else(|| form.strip_suffix(GONE)).unwrap_or(form);
    let inner = file.strip_prefix(data).unwrap_or(file);
    let room = inner.iter().next().and_then(|room| room.to_str()).unwrap_or_default();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends =
        |suffix: &str| Path::new(name).extension().is_some_and(|extension| extension == suffix);
    let (is_log, is_state) = (room == "raft", room.starts_with("state."));
    match kind {
        "log-wal" => is_log && ends("log"),
        "log-sst" => is_log && ends("sst"),
        "state-wal" => is_state && ends("log"),
        "state-sst" => is_state && ends("sst"),
        "manifest" => (is_log || is_state) && name.starts_with("MANIFEST"),
        "options" => (is_log || is_state) && name.starts_with("OPTIONS"),
        "current" => name == "CURRENT" || name == "CURRENT-STATE",
        "mark" => room == "ACKNOWLEDGED",
        "snapshot" => room == "snapshots" && ends("snapshot"),
        "identity" => room == "IDENTITY",
        "peer-key" => room == "peer-reset.key",
        _ => false,
    }
}

fn spoil(form: &str, file: &Path, random: &mut ChaCha8Rng) -> io::Result<String> {
    if form.ends_with(GONE) {
        fs::remove_file(file)?;
        return Ok(String::from("removed"));
    }
    let mut bytes = fs::read(file)?;
    let mut at = random.random_range(0..bytes.len());
    if form.ends_with(CUT) {
        bytes.truncate(at);
        fs::write(file, &bytes)?;
        return Ok(format!("cut to {at} bytes"));
    }
    for _ in 0..TRIES {
        if bytes[at] != 0 {
            break;
        }
        at = random.random_range(0..bytes.len());
    }
    let bit = random.random_range(0..8_u8);
    bytes[at] ^= 1 << bit;
    fs::write(file, &bytes)?;
    Ok(format!("bit {bit} of byte {at} flipped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a node has them after a snapshot and a restart.
    const FILES: [&str; 14] = [
        "ACKNOWLEDGED",
        "CURRENT-STATE",
        "IDENTITY",
        "peer-reset.key",
        "raft/000004.log",
        "raft/000009.sst",
        "raft/CURRENT",
        "raft/IDENTITY",
        "raft/MANIFEST-000005",
        "raft/OPTIONS-000007",
        "snapshots/00000000000000000301-00000000000000000002.snapshot",
        "state.2/000009.sst",
        "state.2/000011.log",
        "state.2/CURRENT",
    ];

    #[test]
    fn each_form_has_a_file_and_only_of_its_kind() {
        let data = Path::new("/data");
        for Form { word, .. } in FORMS {
            let fit = || FILES.iter().filter(|file| is_of(word, data, &data.join(file)));
            assert!(0 < fit().count(), "{word}");
            let in_log = word.starts_with("log-");
            assert!(fit().all(|file| file.starts_with("raft/") == in_log || !in_log), "{word}");
        }
        assert!(!is_of("identity", data, &data.join("raft/IDENTITY")));
        assert!(!is_of("log-wal", data, &data.join("state.2/000011.log")));
    }

    #[test]
    fn what_is_done_to_a_file_can_be_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for seed in 0..50 {
            for form in ["log-wal", "log-wal-cut"] {
                let mut whole = vec![0; 4_096];
                whole[..512].fill(9);
                fs::write(&file, &whole).unwrap();
                let before = print(&file).unwrap();
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let what = spoil(form, &file, &mut random).unwrap();
                assert_ne!(print(&file).unwrap(), before, "{what}");
                let left = fs::read(&file).unwrap();
                if form == "log-wal" {
                    let differ: Vec<_> = (0..4_096).filter(|at| left[*at] != whole[*at]).collect();
                    assert_eq!(differ.len(), 1, "{what}");
                } else {
                    assert!(left.len() < whole.len() && whole.starts_with(&left), "{what}");
                }
            }
        }
        spoil("log-sst-gone", &file, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert!(!file.exists());
    }
}
