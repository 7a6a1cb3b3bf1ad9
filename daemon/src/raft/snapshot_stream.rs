//! A snapshot on its way: the bytes of one file on a stream of its own, behind everything else.

use std::{io, time::Duration};

use bytes::BytesMut;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use synckairos_raft_store::{
    raft_types::{Snapshot, SnapshotFile, Vote},
    snapshot_file::SnapshotInbox,
};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep_until, timeout},
};

use super::{
    connection::{PeerConnection, Priority},
    frames::{self, FrameError},
    messages::{OpenV1, SnapshotHeadV1, SnapshotReplyV1},
};

const CHUNK_BYTES: usize = 256 * 1024;
/// A transfer shares the network with appends; they go first, but not in the peer's windows.
const BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// No cluster's state is larger; a peer that announces more is mistaken.
const SNAPSHOT_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// The next chunk must move in this time.
const STALL_MAX: Duration = Duration::from_secs(10);
/// The peer verifies the file and loads it.
const INSTALL_MAX: Duration = Duration::from_secs(300);

/// A snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// This node cannot read what it sends.
    #[error("cannot read the snapshot: {0}")]
    Source(io::Error),
    #[error("cannot keep the snapshot: {0}")]
    Target(io::Error),
    #[error("{actual} bytes, {announced} announced")]
    Size { actual: u64, announced: u64 },
    #[error("no progress for {} s", STALL_MAX.as_secs())]
    Stalled,
    #[error("not installed within {} s", INSTALL_MAX.as_secs())]
    NotInstalled,
    #[error("refused: {0}")]
    Refused(String),
    #[error("the stream broke: {0}")]
    Broken(#[from] FrameError),
}

/// Sends a snapshot, and waits until the peer has installed it.
///
/// # Errors
/// [`SnapshotError`]; the peer keeps nothing of a snapshot that did not arrive whole.
pub(crate) async fn send(
    connection: &PeerConnection,
    vote: &Vote,
    snapshot: &Snapshot,
) -> Result<Vote, SnapshotError> {
    let file = &snapshot.snapshot;
    let head =
        SnapshotHeadV1 { vote: vote.into(), meta: (&snapshot.meta).into(), size: file.size() };
    let (mut send, mut recv) = connection.open(&OpenV1::Snapshot(head), Priority::Snapshot).await?;
    let sent = send_file(&mut send, file).await;
    match sent {
        Ok(()) => {}
        // The peer refuses it, and says why.
        Err(SnapshotError::Broken(FrameError::Write(WriteError::Stopped(_)))) => {}
        Err(error) => return Err(error),
    }
    let reply = timeout(INSTALL_MAX, frames::read_one(&mut recv)).await;
    match reply.map_err(|_| SnapshotError::NotInstalled)?? {
        SnapshotReplyV1::Done(vote) => Ok(vote.into()),
        SnapshotReplyV1::Refused(reason) => Err(SnapshotError::Refused(reason)),
    }
}

async fn send_file(send: &mut SendStream, file: &SnapshotFile) -> Result<(), SnapshotError> {
    let mut reader = file.reader().await.map_err(SnapshotError::Source)?;
    let (started, mut sent) = (Instant::now(), 0u64);
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        if reader.read_buf(&mut chunk).await.map_err(SnapshotError::Source)? == 0 {
            break;
        }
        sent += chunk.len() as u64;
        timeout(STALL_MAX, send.write_chunk(chunk.freeze()))
            .await
            .map_err(|_| SnapshotError::Stalled)?
            .map_err(FrameError::from)?;
        sleep_until(started + Duration::from_millis(sent * 1_000 / BYTES_PER_SECOND)).await;
    }
    let announced = file.size();
    if sent != announced {
        return Err(SnapshotError::Size { actual: sent, announced });
    }
    let _ = send.finish();
    Ok(())
}

/// Receives the file that `head` announced.
///
/// # Errors
/// [`SnapshotError`]; nothing is kept then.
pub(crate) async fn receive(
    recv: &mut RecvStream,
    head: &SnapshotHeadV1,
    inbox: &SnapshotInbox,
) -> Result<SnapshotFile, SnapshotError> {
    let announced = head.size;
    if SNAPSHOT_BYTES_MAX < announced {
        return Err(SnapshotError::Refused(format!(
            "{announced} bytes announced, at most {SNAPSHOT_BYTES_MAX} accepted"
        )));
    }
    let mut incoming = inbox.receive().await.map_err(SnapshotError::Target)?;
    loop {
        let chunk = timeout(STALL_MAX, recv.read_chunk(CHUNK_BYTES, true))
            .await
            .map_err(|_| SnapshotError::Stalled)?
            .map_err(|error: ReadError| FrameError::Read(error))?;
        let Some(chunk) = chunk else { break };
        let actual = incoming.size() + chunk.bytes.len() as u64;
        if announced < actual {
            return Err(SnapshotError::Size { actual, announced });
        }
        incoming.write(&chunk.bytes).await.map_err(SnapshotError::Target)?;
    }
    let actual = incoming.size();
    if actual != announced {
        return Err(SnapshotError::Size { actual, announced });
    }
    incoming.finish().await.map_err(SnapshotError::Target)
}
