//! The disk under the data directory: how much room it has, and what the node does when it runs
//! out.
//!
//! A disk that fills up must not end the node in the middle of a write. So the node stops filling
//! it before it is full: first it lets others lead, then it takes no more entries. Both end by
//! themselves when there is room again.

mod keeper;
mod room;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use keeper::{Keeper, run};
pub(crate) use room::Room;

/// 512 MiB.
const FREE_MIN_BYTES: u64 = 512 * 1024 * 1024;

/// `[disk]`: when a node stops filling its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DiskSettings {
    /// With less free than this the node lets others lead; with less than half of it, it takes no
    /// log entries. Twice the size of a snapshot or more; 0 is no limit. Default 512 MiB.
    pub(crate) free_min_bytes: u64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self { free_min_bytes: FREE_MIN_BYTES }
    }
}

/// What was seen of the disk last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// For users other than root.
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) room: Room,
}

/// The disk as everybody in the node sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk {
    data_dir: Arc<PathBuf>,
    free_min_bytes: u64,
    seen: watch::Sender<Reading>,
}

/// The disk has too little room to open the data on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(
        "the disk of {} is full: {free_bytes} bytes are free, and {needed_bytes} are needed to \
         start; make room there, then start the node again: what it acknowledged is on the disk",
        data_dir.display()
    )]
    Full { data_dir: PathBuf, free_bytes: u64, needed_bytes: u64 },
    #[error("cannot tell how full the disk of {} is: {source}; check the path", data_dir.display())]
    Unreadable { data_dir: PathBuf, source: io::Error },
}

impl Disk {
    /// Looks at the disk for the first time.
    ///
    /// # Errors
    /// [`DiskError`] where it is too full to begin, or cannot be asked.
    pub(crate) fn open(data_dir: &Path, settings: &DiskSettings) -> Result<Self, DiskError> {
        let data_dir = data_dir.to_owned();
        let free_min_bytes = settings.free_min_bytes;
        let (free_bytes, total_bytes) = measure(&data_dir)
            .map_err(|source| DiskError::Unreadable { data_dir: data_dir.clone(), source })?;
        let needed_bytes = room::start_min_bytes(free_min_bytes);
        if free_bytes < needed_bytes {
            return Err(DiskError::Full { data_dir, free_bytes, needed_bytes });
        }
        let room = Room::Enough.after(free_bytes, free_min_bytes);
        let seen = watch::Sender::new(Reading { free_bytes, total_bytes, room });
        Ok(Self { data_dir: Arc::new(data_dir), free_min_bytes, seen })
    }

    pub(crate) fn reading(&self) -> Reading {
        *self.seen.borrow()
    }

    pub(crate) fn room(&self) -> Room {
        self.reading().room
    }

    /// Does it take so many bytes and still have room for log entries?
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let seen = self.reading();
        let left = seen.free_bytes.saturating_sub(bytes);
        self.free_min_bytes == 0 || seen.room.after(left, self.free_min_bytes) != Room::Exhausted
    }

    /// How many bytes whoever writes into `directory` must leave free: none where that is on another
    /// disk than the data.
    ///
    /// # Errors
    /// What the system says where it cannot tell.
    pub(crate) fn keeps_free_at(&self, directory: &Path) -> io::Result<u64> {
        let same = fs::metadata(directory)?.dev() == fs::metadata(&*self.data_dir)?.dev();
        Ok(if same { self.free_min_bytes } else { 0 })
    }

    /// Waits until it takes no more log entries.
    pub(crate) async fn exhausted(&self) {
        let mut seen = self.seen.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = seen.wait_for(|seen| seen.room == Room::Exhausted).await;
    }

    /// What is wrong and what to do about it; `None` while there is enough room.
    pub(crate) fn complaint(&self) -> Option<String> {
        let Reading { free_bytes, room, .. } = self.reading();
        let consequence = match room {
            Room::Enough => return None,
            Room::Low => "this node lets others lead",
            Room::Exhausted => "this node takes no more log entries",
        };
        let (data_dir, min) = (self.data_dir.display(), self.free_min_bytes);
        Some(format!(
            "the disk of {data_dir} has {free_bytes} bytes free, and disk.free_min_bytes is {min}: \
             {consequence}; make room there"
        ))
    }

    /// Looks again; what it was and what it is.
    fn look(&self) -> io::Result<(Reading, Reading)> {
        let (free_bytes, total_bytes) = measure(&self.data_dir)?;
        let before = self.reading();
        let room = before.room.after(free_bytes, self.free_min_bytes);
        let now = Reading { free_bytes, total_bytes, room };
        self.seen.send_replace(now);
        Ok((before, now))
    }
}

/// Bytes free for users other than root, on the disk of `directory`.
///
/// # Errors
/// What the system says where it cannot tell.
pub(crate) fn free_bytes(directory: &Path) -> io::Result<u64> {
    measure(directory).map(|(free_bytes, _)| free_bytes)
}

/// Bytes free and in all, where `path` is or will be made.
fn measure(path: &Path) -> io::Result<(u64, u64)> {
    let existing = path.ancestors().find(|path| path.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(existing)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

/// Does what a failed write said mean that the disk is full?
pub(crate) fn is_full(reason: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "os error 28", "os error 122"]
        .iter()
        .any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_not_begun_on() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("not/made/yet");
        let open = |free_min_bytes| Disk::open(&nowhere, &DiskSettings { free_min_bytes });
        let disk = open(0).unwrap();
        assert!(0 < disk.reading().free_bytes && disk.complaint().is_none());
        assert!(disk.has_room_for(u64::MAX));

        let total = disk.reading().total_bytes;
        let low = open(disk.reading().free_bytes.saturating_add(total / 100)).unwrap();
        assert_eq!(low.room(), Room::Low);
        assert!(low.complaint().unwrap().contains("make room there"));
        assert!(!low.has_room_for(total));

        let refused = open(total.saturating_mul(8)).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("is full"), "{refused}");
    }
}
