//! The directory of complete snapshots: which one is current, and when an old one goes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::format::{Reader, SnapshotError};
use crate::{
    error::OpenError,
    layout::{self, Layout},
    log_index::next_index,
    raft_types::{Snapshot, SnapshotMeta},
    snapshot_file::{PARTIAL_SUFFIX, SnapshotFile},
    wire::LogIdV1,
};

const SUFFIX: &str = ".snapshot";
/// The newest, and the one before it for a follower that is still reading it.
const KEPT: usize = 2;
const READ_BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
    current: Mutex<Option<Kept>>,
    partials: AtomicU64,
}

#[derive(Debug)]
struct Kept {
    meta: SnapshotMeta,
    path: PathBuf,
}

impl Shelf {
    /// Finds the newest snapshot that is whole. Partial and damaged ones are removed.
    pub(crate) fn open(layout: &Layout) -> Result<Self, OpenError> {
        let directory = layout.snapshots();
        let failed = |error| OpenError::io("read", &directory)(error);
        let mut complete = Vec::new();
        for file in fs::read_dir(&directory).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(PARTIAL_SUFFIX) {
                fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
            } else if name.ends_with(SUFFIX) {
                complete.push(path);
            }
        }
        complete.sort();
        let mut current = None;
        while let Some(path) = complete.pop() {
            match verify(&path) {
                Ok(meta) => {
                    current = Some(Kept { meta, path });
                    break;
                }
                Err(error) if error.is_damage() => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "removing a snapshot that is not whole");
                }
                Err(source) => return Err(OpenError::unusable_snapshot(path, source)),
            }
            fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        }
        Ok(Self { directory, current: Mutex::new(current), partials: AtomicU64::new(0) })
    }

    /// A name for a snapshot that is being written.
    pub(crate) fn partial(&self) -> PathBuf {
        let number = self.partials.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("built-{number}{PARTIAL_SUFFIX}"))
    }

    /// Takes in a complete, synced file under its lasting name, and makes it current unless a newer
    /// one is.
    pub(crate) fn keep(&self, file: &Path, meta: &SnapshotMeta) -> io::Result<PathBuf> {
        let mut current = self.lock();
        let path = self.directory.join(name(meta));
        if file != path {
            layout::rename_durably(file, &path)?;
        }
        if current.as_ref().is_none_or(|kept| kept.meta.last_log_id <= meta.last_log_id) {
            *current = Some(Kept { meta: meta.clone(), path: path.clone() });
        }
        self.prune()?;
        Ok(path)
    }

    /// The newest snapshot, opened.
    pub(crate) fn current(&self) -> io::Result<Option<Snapshot>> {
        let current = self.lock();
        let Some(kept) = current.as_ref() else { return Ok(None) };
        let snapshot = SnapshotFile::open(&kept.path)?;
        Ok(Some(Snapshot { meta: kept.meta.clone(), snapshot }))
    }

    fn prune(&self) -> io::Result<()> {
        let mut complete = Vec::new();
        for file in fs::read_dir(&self.directory)? {
            let path = file?.path();
            if path.to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
                complete.push(path);
            }
        }
        complete.sort();
        complete.iter().rev().skip(KEPT).try_for_each(fs::remove_file)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.current.lock().expect("nobody panics while holding the current snapshot")
    }
}

/// Reads a whole snapshot and says what it covers.
pub(crate) fn verify(path: &Path) -> Result<SnapshotMeta, SnapshotError> {
    let file = io::BufReader::with_capacity(READ_BUFFER_BYTES, fs::File::open(path)?);
    let (header, mut reader) = Reader::begin(file)?;
    while reader.next()?.is_some() {}
    Ok(header.meta.try_into().map_err(io::Error::other)?)
}

/// What the snapshot at a position is called while it is written, and then.
pub(crate) fn places(layout: &Layout, position: LogIdV1) -> (PathBuf, PathBuf) {
    let directory = layout.snapshots();
    let name = name_at(position.index + 1, position.term);
    (directory.join(format!("{name}{PARTIAL_SUFFIX}")), directory.join(name))
}

fn name(meta: &SnapshotMeta) -> String {
    let term = meta.last_log_id.map_or(0, |log_id| log_id.leader_id.term);
    name_at(next_index(meta.last_log_id), term)
}

/// Names sort as positions do.
fn name_at(next_index: u64, term: u64) -> String {
    format!("{next_index:020}-{term:020}{SUFFIX}")
}
