//! `POST /v1/backup` for operators: a backup as the body of an answer.
//!
//! A body that is not whole never looks whole: it ends in an error, which cuts the connection, and
//! the backup itself says at its end what it must hold.

use std::{
    io::{self, Write},
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use synckairos_protocol::{error::Kind, wire::problem::Problem};
use synckairos_raft_store::backup::BackupError;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Source;
use crate::sessions::refusal::Refusal;

const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait for the reader.
const CHUNKS_MAX: usize = 8;
/// A reader that takes nothing for so long is gone: what it reads holds room in the database.
const READER_PATIENCE: Duration = Duration::from_secs(60);
/// Each reads the whole state.
const BACKUPS_AT_ONCE: usize = 2;

static TURNS: Semaphore = Semaphore::const_new(BACKUPS_AT_ONCE);

/// Why there is no backup, or only the beginning of one.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this node is sending {BACKUPS_AT_ONCE} backups already; wait for one of them")]
    Busy,
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the backup ended before its end; take it again")]
    Cut,
}

impl StreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Busy => Kind::Overloaded,
            Self::Backup(_) | Self::Cut => Kind::StorageUnavailable,
        }
    }
}

/// What the thread that reads the state tells the task that sends it.
enum Piece {
    Bytes(Bytes),
    Failed(BackupError),
    /// All of it was sent.
    End,
}

/// A backup of everything that was acknowledged before the call, or why there is none.
pub(crate) async fn create(source: &Source) -> Response<Body> {
    match begin(source).await {
        Ok(body) => answer(StatusCode::OK, "application/octet-stream", body),
        Err(error) => {
            let kind = error.kind();
            let status = StatusCode::from_u16(kind.meaning().status);
            let problem = Problem::new(kind, error.to_string());
            let body = serde_json::to_vec(&problem).expect("a problem has string keys");
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            answer(status, "application/json; charset=utf-8", body.into())
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

async fn begin(source: &Source) -> Result<Body, StreamError> {
    let turn = TURNS.try_acquire().map_err(|_| StreamError::Busy)?;
    source.catch_up().await?;
    let (source, stopping) = (source.clone(), source.stopping.clone());
    body(stopping, move |output| {
        let _turn = turn;
        source.write_to(output).map(drop)
    })
    .await
}

/// What `write` writes on a thread of its own, as a body; an error where it fails before it has
/// written anything.
async fn body(
    stopping: CancellationToken,
    write: impl FnOnce(&mut ChunkWriter) -> Result<(), BackupError> + Send + 'static,
) -> Result<Body, StreamError> {
    let (sender, mut pieces) = mpsc::channel(CHUNKS_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut output = ChunkWriter { chunk: BytesMut::new(), sender, runtime, stopping };
        let last = match write(&mut output).and_then(|()| output.flush().map_err(unwritable)) {
            Ok(()) => Piece::End,
            Err(error) => Piece::Failed(error),
        };
        // A reader that is gone has no use for it.
        let _ = output.send(last);
    });
    let first = match pieces.recv().await {
        Some(Piece::Failed(error)) => return Err(error.into()),
        first => first,
    };
    let rest = stream::try_unfold((first, pieces), async |(first, mut pieces)| {
        let piece = match first {
            Some(piece) => Some(piece),
            None => pieces.recv().await,
        };
        match piece {
            Some(Piece::Bytes(bytes)) => Ok(Some((bytes, (None, pieces)))),
            Some(Piece::End) => Ok(None),
            Some(Piece::Failed(error)) => {
                tracing::warn!(%error, "a backup was cut off");
                Err(StreamError::Backup(error))
            }
            None => Err(StreamError::Cut),
        }
    });
    Ok(Body::from_stream(rest))
}

fn unwritable(error: io::Error) -> BackupError {
    BackupError::Write(error.into())
}

/// Hands what is written to the task that sends it, and waits while that is behind.
struct ChunkWriter {
    chunk: BytesMut,
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
    stopping: CancellationToken,
}

impl ChunkWriter {
    fn send(&self, piece: Piece) -> io::Result<()> {
        let cannot = |reason: &str| io::Error::new(io::ErrorKind::ConnectionAborted, reason);
        self.runtime.block_on(async {
            tokio::select! {
                sent = timeout(READER_PATIENCE, self.sender.send(piece)) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(cannot("the reader is gone")),
                    Err(_) => Err(cannot("the reader takes nothing")),
                },
                () = self.stopping.cancelled() => Err(cannot("this node is stopping")),
            }
        })
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        while CHUNK_BYTES <= self.chunk.len() {
            let chunk = self.chunk.split_to(CHUNK_BYTES).freeze();
            self.send(Piece::Bytes(chunk))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = self.chunk.split().freeze();
        if rest.is_empty() { Ok(()) } else { self.send(Piece::Bytes(rest)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as threads;

    use http_body_util::BodyExt;

    use super::*;

    /// Not a multiple of a chunk, and more than may wait.
    const MANY: usize = CHUNK_BYTES * (CHUNKS_MAX + 4) + 77;

    fn bytes() -> Vec<u8> {
        (0..MANY).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    fn write(output: &mut ChunkWriter, bytes: &[u8]) -> Result<(), BackupError> {
        output.write_all(bytes).map_err(unwritable)
    }

    async fn begun(
        write: impl FnOnce(&mut ChunkWriter) -> Result<(), BackupError> + Send + 'static,
    ) -> Body {
        body(CancellationToken::new(), write).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_written_arrives() {
        for length in [0, 1, CHUNK_BYTES, MANY] {
            let sent = begun(move |output| write(output, &bytes()[..length])).await;
            let arrived = sent.collect().await.unwrap().to_bytes();
            assert!(arrived == bytes()[..length], "{length}");
        }
    }

    #[tokio::test]
    async fn what_fails_at_once_is_refused() {
        let refused = body(CancellationToken::new(), |_| Err(BackupError::Nothing)).await;
        let error = refused.err().unwrap();
        assert!(error.to_string().contains("wait until it is ready"), "{error}");
        assert_eq!(error.kind(), Kind::StorageUnavailable);
    }

    #[tokio::test]
    async fn what_fails_later_cuts_the_body() {
        let sent = begun(|output| {
            write(output, &bytes())?;
            Err(BackupError::Nothing)
        })
        .await;
        assert!(sent.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_thread_that_is_lost_cuts_the_body() {
        let sent = begun(|output| {
            write(output, &bytes()[..CHUNK_BYTES])?;
            // Its sender goes, as it does when its thread unwinds.
            output.sender = mpsc::channel(1).0;
            Ok(())
        })
        .await;
        assert!(sent.collect().await.is_err());
    }

    /// What the thread's writing came to, when `end` is done to a body of which nothing is read.
    async fn ended(end: impl FnOnce(Body, &CancellationToken)) -> String {
        let stopping = CancellationToken::new();
        let (tell, told) = threads::channel();
        let sent = body(stopping.clone(), move |output| {
            let result = write(output, &bytes());
            let _ = tell.send(result.as_ref().err().map(ToString::to_string));
            result
        });
        end(sent.await.unwrap(), &stopping);
        let told = tokio::task::spawn_blocking(move || told.recv_timeout(READER_PATIENCE));
        told.await.unwrap().unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_it() {
        assert!(ended(|body, _| drop(body)).await.contains("the reader is gone"));
    }

    #[tokio::test]
    async fn a_node_that_stops_ends_it() {
        let mut kept = None;
        let end = |body, stopping: &CancellationToken| {
            kept = Some(body);
            stopping.cancel();
        };
        assert!(ended(end).await.contains("this node is stopping"));
    }
}
