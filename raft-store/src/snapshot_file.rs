//! A snapshot as a file on disk: what openraft hands from the store to the network and back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::io::AsyncWriteExt;

use crate::snapshot::shelf;

/// What unfinished files in the directory of snapshots end in.
pub(crate) const PARTIAL_SUFFIX: &str = ".partial";

/// A complete file that holds a snapshot, opened for reading.
///
/// It stays readable while this handle lives, even when a newer snapshot replaces it. A received
/// file that is never installed is removed with its last handle.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    size: u64,
    file: Arc<fs::File>,
    _partial: Option<Arc<PartialFile>>,
}

impl SnapshotFile {
    /// # Errors
    /// The operating system's, where the file cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), size, file: Arc::new(file), _partial: None })
    }

    pub(crate) fn renamed(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A reader of the whole file. One reader at a time: readers of one handle share a position.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn reader(&self) -> io::Result<tokio::fs::File> {
        let mut reader = tokio::fs::File::from_std(self.file.try_clone()?);
        tokio::io::AsyncSeekExt::rewind(&mut reader).await?;
        Ok(reader)
    }

    /// As [`SnapshotFile::reader`], for threads that may block.
    pub(crate) fn blocking_reader(&self) -> io::Result<fs::File> {
        let mut reader = self.file.try_clone()?;
        io::Seek::rewind(&mut reader)?;
        Ok(reader)
    }
}

/// Where snapshots from peers are put until they are installed.
#[derive(Clone, Debug)]
pub struct SnapshotInbox {
    directory: PathBuf,
    received: Arc<AtomicU64>,
}

impl SnapshotInbox {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, received: Arc::default() }
    }

    /// Begins to receive a snapshot; what came in is removed if it is not finished.
    ///
    /// # Errors
    /// The operating system's, where no file can be made.
    pub async fn receive(&self) -> io::Result<IncomingSnapshot> {
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("received-{number}{PARTIAL_SUFFIX}"));
        let file = tokio::fs::File::create(&path).await?;
        Ok(IncomingSnapshot { file, partial: PartialFile(path), size: 0 })
    }
}

/// A snapshot that is being received.
#[derive(Debug)]
pub struct IncomingSnapshot {
    file: tokio::fs::File,
    partial: PartialFile,
    size: u64,
}

impl IncomingSnapshot {
    /// Bytes received so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends what arrived.
    ///
    /// # Errors
    /// The operating system's, as when the disk is full.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk).await?;
        self.size += chunk.len() as u64;
        Ok(())
    }

    /// The file to install, once every checksum in it has been found right.
    ///
    /// # Errors
    /// `InvalidData` where the snapshot is cut off or damaged; else the operating system's.
    pub async fn finish(mut self) -> io::Result<SnapshotFile> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let path = self.partial.0.clone();
        let verified = tokio::task::spawn_blocking(move || shelf::verify(&path));
        verified.await.map_err(io::Error::other)??;
        let mut received = SnapshotFile::open(&self.partial.0)?;
        received._partial = Some(Arc::new(self.partial));
        Ok(received)
    }
}

/// Removes its file when dropped, unless it was renamed by then.
#[derive(Debug)]
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a partial snapshot");
        }
    }
}
