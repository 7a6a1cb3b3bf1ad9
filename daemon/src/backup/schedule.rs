//! Backups that a node makes by itself, again and again, and those of them that it keeps.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use synckairos_raft_store::backup::BackupError;
use tokio::time::sleep;
use tracing::{error, info};

use super::{
    Source,
    file::{FileError, PartFile},
    names::{self, BackupName, Maker},
    settings::BackupSettings,
};
use crate::{
    disk::{self, Disk},
    sessions::refusal::Refusal,
    telemetry::metrics::Metrics,
};

/// Between a failed attempt and the next one, where the schedule itself is not shorter.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest time without a look at the wall clock, which may be set.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Bytes that are written between two looks at the room that is left.
const LOOK_AT_ROOM_BYTES: u64 = 4 * 1024 * 1024;
const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
enum ScheduleError {
    #[error("this node is not up to date: {0}")]
    Behind(#[from] Refusal),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot {doing} {}: {source}; it is backup.directory", path.display())]
    Directory { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the disk of {} has {free_bytes} bytes free, and a backup needs {needed_bytes}; make room \
         there, or lower backup.keep", path.display()
    )]
    NoRoom { path: PathBuf, free_bytes: u64, needed_bytes: u64 },
    #[error("the thread that wrote it was lost")]
    Lost,
}

/// What is wrong with a node's scheduled backups, for its report. A clone tells the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScheduleHealth {
    complaint: Arc<Mutex<Option<String>>>,
}

impl ScheduleHealth {
    /// What is wrong and what to do about it; `None` where the last attempt succeeded.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, complaint: Option<String>) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
    }
}

/// A node's scheduled backups.
#[derive(Clone)]
pub(crate) struct Schedule {
    pub(crate) source: Source,
    pub(crate) settings: BackupSettings,
    pub(crate) disk: Disk,
    pub(crate) metrics: Metrics,
    pub(crate) health: ScheduleHealth,
}

/// Makes backups until the node stops; none where there is no directory for them.
pub(crate) async fn run(schedule: Schedule) {
    if schedule.settings.is_on() {
        let stopping = schedule.source.stopping.clone();
        stopping.run_until_cancelled(schedule.go_on()).await;
    }
}

impl Schedule {
    async fn go_on(&self) {
        self.metrics.set_backup_interval(self.settings.interval());
        self.on_thread(Self::look_back).await.unwrap_or_else(|error| self.failed(&error));
        loop {
            let pause = match self.go().await {
                Ok(left) => left.min(LOOK_EVERY),
                Err(error) => {
                    self.failed(&error);
                    self.settings.interval().min(RETRY_AFTER)
                }
            };
            sleep(pause).await;
        }
    }

    /// Makes a backup where one is due; how long until the next one is.
    async fn go(&self) -> Result<Duration, ScheduleError> {
        let due_in = self.on_thread(Self::due_in).await?;
        if !due_in.is_zero() {
            return Ok(due_in);
        }
        self.source.catch_up().await?;
        self.on_thread(Self::write).await?;
        self.on_thread(Self::prune).await?;
        self.health.set(None);
        self.on_thread(Self::due_in).await
    }

    /// The directory may be on a slow disk.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: fn(&Self) -> Result<T, ScheduleError>,
    ) -> Result<T, ScheduleError> {
        let schedule = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&schedule)).await;
        done.unwrap_or(Err(ScheduleError::Lost))
    }

    fn failed(&self, reason: &ScheduleError) {
        error!(%reason, "a scheduled backup failed");
        self.metrics.backup_failed();
        self.health.set(Some(format!("its last scheduled backup failed: {reason}")));
    }

    /// Removes what an earlier process left unfinished, and tells of the newest backup.
    fn look_back(&self) -> Result<(), ScheduleError> {
        for name in self.files()? {
            if self.maker().is_part(&name) {
                let path = self.settings.directory.join(name);
                fs::remove_file(&path).map_err(directory("remove", &path))?;
            }
        }
        let now = unix_seconds();
        let made = self.made()?;
        let newest = made.iter().filter(|name| name.at_seconds <= now);
        if let Some(newest) = newest.max_by_key(|name| name.at_seconds) {
            let bytes = self.bytes_of(newest)?;
            self.metrics.backup_made(newest.at_seconds, bytes);
        }
        Ok(())
    }

    fn due_in(&self) -> Result<Duration, ScheduleError> {
        let now = unix_seconds();
        let next = names::next_at(&self.made()?, now, self.settings.interval_seconds);
        Ok(Duration::from_secs(next.saturating_sub(now)))
    }

    fn write(&self) -> Result<(), ScheduleError> {
        let (root, at_seconds) = (&self.settings.directory, unix_seconds());
        let keep_free_bytes = self.disk.keeps_free_at(root).map_err(directory("look at", root))?;
        self.check_room(keep_free_bytes)?;
        let part = PartFile::create(root.join(self.maker().part(at_seconds)))?;
        let guarded = Guarded { schedule: self, part: &part, keep_free_bytes, unseen_bytes: 0 };
        let output = BufWriter::with_capacity(WRITE_BUFFER_BYTES, guarded);
        self.source.write_to(output)?;
        let (manifest, bytes) = part.seal()?;
        let (maker, revision) = (self.maker(), manifest.revision);
        let name = BackupName { maker, at_seconds, revision }.to_string();
        part.name(&root.join(&name))?;
        self.metrics.backup_made(at_seconds, bytes);
        info!(file = name, revision, bytes, sessions = manifest.sessions, "backed up");
        Ok(())
    }

    /// Does a backup fit that is as large as the newest one?
    fn check_room(&self, keep_free_bytes: u64) -> Result<(), ScheduleError> {
        let newest = self.made()?.into_iter().max_by_key(|name| name.at_seconds);
        let size = newest.map_or(Ok(0), |name| self.bytes_of(&name))?;
        let (path, needed_bytes) = (&self.settings.directory, size.saturating_add(keep_free_bytes));
        let free_bytes = disk::free_bytes(path).map_err(directory("look at", path))?;
        if free_bytes < needed_bytes {
            return Err(ScheduleError::NoRoom { path: path.clone(), free_bytes, needed_bytes });
        }
        Ok(())
    }

    fn prune(&self) -> Result<(), ScheduleError> {
        for name in names::surplus(self.made()?, unix_seconds(), self.settings.keep) {
            let path = self.settings.directory.join(name.to_string());
            fs::remove_file(&path).map_err(directory("remove", &path))?;
            info!(file = %name, "removed the oldest backup");
        }
        Ok(())
    }

    fn maker(&self) -> Maker {
        Maker { cluster: self.source.cluster, node: self.source.node }
    }

    /// The backups that this node made and that are still there.
    fn made(&self) -> Result<Vec<BackupName>, ScheduleError> {
        let names = self.files()?;
        let made = names.iter().filter_map(|name| BackupName::parse(name));
        Ok(made.filter(|name| name.maker == self.maker()).collect())
    }

    fn files(&self) -> Result<Vec<String>, ScheduleError> {
        let root = &self.settings.directory;
        let names = fs::read_dir(root).and_then(|files| {
            // A name that is no text is none of ours.
            let names = files.map(|file| file.map(|file| file.file_name().into_string().ok()));
            names.filter_map(Result::transpose).collect::<io::Result<Vec<String>>>()
        });
        names.map_err(directory("read", root))
    }

    fn bytes_of(&self, name: &BackupName) -> Result<u64, ScheduleError> {
        let path = self.settings.directory.join(name.to_string());
        Ok(fs::metadata(&path).map_err(directory("read", &path))?.len())
    }
}

fn directory(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScheduleError + use<> {
    let path = path.to_owned();
    move |source| ScheduleError::Directory { doing, path, source }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Writes no further when the disk gets too full or the node stops.
struct Guarded<'a> {
    schedule: &'a Schedule,
    part: &'a PartFile,
    keep_free_bytes: u64,
    /// Written since the room was looked at.
    unseen_bytes: u64,
}

impl Guarded<'_> {
    fn check(&mut self) -> io::Result<()> {
        if self.schedule.source.stopping.is_cancelled() {
            return Err(io::Error::other("this node is stopping"));
        }
        if self.unseen_bytes < LOOK_AT_ROOM_BYTES {
            return Ok(());
        }
        self.unseen_bytes = 0;
        let free_bytes = disk::free_bytes(&self.schedule.settings.directory)?;
        if free_bytes < self.keep_free_bytes {
            let (free, keep) = (free_bytes, self.keep_free_bytes);
            let reason = format!("{free} bytes are left, and {keep} are for the node's own data");
            return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
        }
        Ok(())
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        let written = self.part.file().write(bytes)?;
        self.unseen_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.file().flush()
    }
}
