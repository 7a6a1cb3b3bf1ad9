//! The data directory: what lies where, and how a file is replaced so that a crash leaves either
//! the old one or the new one.
//!
//! ```text
//! LOCK            held while a process has the directory open
//! IDENTITY        whose data this is
//! ACKNOWLEDGED    how far the log in raft/ was acknowledged; the first release had none
//! ADMITTED        there once others let this node take part
//! TO-BE-FOUNDED   there where raft/ was made from a backup for a cluster that is to begin
//! CURRENT-STATE   number of the state database in use
//! raft/           log, vote, positions (RocksDB)
//! state.N/        sessions (RocksDB)
//! snapshots/      complete snapshots, and partial ones that the next start removes
//! ```

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::error::OpenError;

/// A process that was killed lets go of its files in its own time, and so does a child that a
/// process starts, until it runs another program.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The directory of the log.
pub(crate) const RAFT: &str = "raft";
const STATE_PREFIX: &str = "state.";

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Where things are, whether or not they are there.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the directory where there is none.
    pub(crate) fn create(root: &Path) -> Result<Self, OpenError> {
        let layout = Self::at(root);
        let snapshots = layout.snapshots();
        fs::create_dir_all(&snapshots).map_err(OpenError::io("create", &snapshots))?;
        sync_directory(root).map_err(OpenError::io("sync", root))?;
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("IDENTITY")
    }

    pub(crate) fn acknowledged(&self) -> PathBuf {
        self.root.join("ACKNOWLEDGED")
    }

    pub(crate) fn admitted(&self) -> PathBuf {
        self.root.join("ADMITTED")
    }

    pub(crate) fn to_be_founded(&self) -> PathBuf {
        self.root.join("TO-BE-FOUNDED")
    }

    pub(crate) fn raft(&self) -> PathBuf {
        self.root.join(RAFT)
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn state(&self, number: u64) -> PathBuf {
        self.root.join(format!("{STATE_PREFIX}{number}"))
    }

    fn current_state(&self) -> PathBuf {
        self.root.join("CURRENT-STATE")
    }

    /// The number of the state database in use; `None` before there is one, or where the pointer
    /// cannot be read (state can be rebuilt, so that is no reason to stop).
    pub(crate) fn current_state_number(&self) -> io::Result<Option<u64>> {
        match fs::read_to_string(self.current_state()) {
            Ok(text) => Ok(text.trim_end().strip_prefix(STATE_PREFIX).and_then(|n| n.parse().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From the moment this returns, and not before, a start uses that database.
    pub(crate) fn switch_state(&self, number: u64) -> io::Result<()> {
        replace_file(&self.current_state(), format!("{STATE_PREFIX}{number}\n").as_bytes())
    }

    /// All state databases there are, complete or not.
    pub(crate) fn state_numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(&self.root)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(STATE_PREFIX));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        Ok(numbers)
    }
}

/// Writes a file so that its name always stands for whole content, old or new.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename_durably(&new, path)
}

pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(directory) => sync_directory(directory),
        None => Ok(()),
    }
}

/// Makes the names in a directory as durable as the files behind them.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Keeps other processes out of the directory while anything of the store lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: fs::File,
    _alive: mpsc::Sender<()>,
}

impl DirectoryLock {
    pub(crate) fn take(layout: &Layout) -> Result<(Self, Closed), OpenError> {
        let path = layout.root.join("LOCK");
        let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(OpenError::io("open", &path))?;
        let deadline = Instant::now() + RELEASED_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(LOOK_EVERY);
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(OpenError::InUse { directory: layout.root.clone() });
                }
                Err(fs::TryLockError::Error(error)) => {
                    return Err(OpenError::io("lock", &path)(error));
                }
            }
        }
        let (alive, closed) = mpsc::channel(1);
        Ok((Self { _file: file, _alive: alive }, Closed(closed)))
    }
}

/// Tells when everything of the store has been dropped and its databases are closed.
#[derive(Debug)]
pub struct Closed(mpsc::Receiver<()>);

impl Closed {
    /// Resolves once the last handle of the store is gone and its threads have ended: only then
    /// should the process exit, or open the directory again.
    pub async fn wait(mut self) {
        while self.0.recv().await.is_some() {}
    }
}
