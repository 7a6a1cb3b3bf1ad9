//! Building a snapshot from the state database, while the state moves on.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, mpsc},
};

use openraft::RaftSnapshotBuilder;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    format::{Header, SnapshotError, Writer},
    shelf::Shelf,
};
use crate::{
    raft_types::{Snapshot, SnapshotFile, TypeConfig},
    state::{db::StateDb, view::View},
};

const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// A view of the state at one position of the log, to be written when openraft says so.
///
/// A thread that may block holds the view, because a view cannot outlive the borrow of its
/// database; it ends when this is dropped.
pub struct SnapshotBuilder {
    begin: Option<mpsc::Sender<()>>,
    task: JoinHandle<io::Result<Snapshot>>,
}

impl SnapshotBuilder {
    /// Takes the view. When this returns, later changes are no part of it.
    pub(crate) async fn new(db: Arc<StateDb>, shelf: Arc<Shelf>) -> Self {
        let (begin, go) = mpsc::channel();
        let (taken, view_taken) = oneshot::channel();
        let task = tokio::task::spawn_blocking(move || build(&db, &shelf, taken, &go));
        // Where the thread fails before it has the view, building reports the failure.
        let _ = view_taken.await;
        Self { begin: Some(begin), task }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let begin = self.begin.take();
        let begin = begin.ok_or_else(|| io::Error::other("a snapshot builder builds once"))?;
        // A thread that has ended already has its reason in the result.
        let _ = begin.send(());
        (&mut self.task).await.map_err(io::Error::other)?
    }
}

fn build(
    db: &StateDb,
    shelf: &Shelf,
    taken: oneshot::Sender<()>,
    go: &mpsc::Receiver<()>,
) -> io::Result<Snapshot> {
    let view = db.view();
    let _ = taken.send(());
    if go.recv().is_err() {
        return Err(io::Error::other("the snapshot is not wanted any more"));
    }
    let partial = shelf.partial();
    let built = view.meta().map_err(io::Error::other).and_then(|meta| {
        let header = Header::of(meta, view.roster().map_err(io::Error::other)?);
        #[cfg(feature = "planted-bugs")]
        let header = crate::planted::header(header);
        write(&view, &header, &partial)?;
        // What the log may now purge must not be lost from the database either.
        db.sync().map_err(io::Error::other)?;
        let meta = header.meta.try_into().map_err(io::Error::other)?;
        // Opened first: where a newer one was installed meanwhile, this one goes at once.
        let file = SnapshotFile::open(&partial)?;
        let snapshot = file.renamed(shelf.keep(&partial, &meta)?);
        Ok(Snapshot { meta, snapshot })
    });
    if built.is_err() {
        // A file that never came to be is not missed; one that stays is removed at the next start.
        let _ = fs::remove_file(&partial);
    }
    built
}

fn write(view: &View<'_>, header: &Header, path: &Path) -> Result<(), SnapshotError> {
    let file = fs::File::create(path)?;
    let output = io::BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
    let mut writer = Writer::begin(output, header)?;
    for family in header.families() {
        #[cfg(feature = "planted-bugs")]
        let mut number = 0_u64;
        view.for_each(family, |_, row| {
            #[cfg(feature = "planted-bugs")]
            {
                number += 1;
                if crate::planted::is_left_out(family, number) {
                    return Ok(());
                }
            }
            writer.row(row)
        })?;
    }
    let output = writer.finish()?;
    let file = output.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}
