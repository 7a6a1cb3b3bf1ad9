//! Log entries on their way: one stream for as long as openraft keeps appending, many appends
//! under way on it at once, their replies in order.

mod acks;

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use quinn::{RecvStream, SendStream, VarInt, WriteError};
use synckairos_protocol::{codec::EncodeError, time::Stamp};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use self::acks::Acks;
use super::{
    frames::{self, FrameError},
    messages::{AppendReplyV1, AppendRequest, AppendResult, AppendV1},
};

/// Appends on their way to one peer. openraft itself takes so many at the other end.
const WINDOW: usize = 64;
/// Decoded appends that wait for openraft to take them.
const RECEIVED_MAX: usize = 4;
/// The oldest append under way must be answered in this time: a disk may be slow, not stuck.
const STALL_MAX: Duration = Duration::from_secs(5);

/// No more replies come from an append stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no reply for {} s", STALL_MAX.as_secs())]
    Stalled,
    #[error("an entry cannot be read: {0}")]
    Entry(#[from] synckairos_raft_store::wire::InvalidMembership),
    #[error("node {peer} speaks for node {claimed}")]
    Impostor { peer: u64, claimed: u64 },
}

/// Sends what `requests` yields, each with the time that `now` tells, and yields the replies.
///
/// Ends with the requests, or after the first reply that is not a match. Sending stops when the
/// replies are dropped.
pub(crate) fn exchange(
    (send, recv): (SendStream, RecvStream),
    requests: impl Stream<Item = AppendRequest> + Send + Unpin + 'static,
    now: impl Fn() -> Option<Stamp> + Send + 'static,
) -> impl Stream<Item = Result<AppendResult, AppendError>> + Send + 'static {
    let (sent, under_way) = mpsc::channel(WINDOW);
    let acks = Arc::new(Acks::default());
    let requests = acks.watch(requests);
    let sending = AbortOnDropHandle::new(tokio::spawn(send_all(send, requests, now, sent)));
    let replies = Replies { recv, under_way, _sending: sending };
    stream::unfold(Some((replies, acks)), |state| async move {
        let (mut replies, acks) = state?;
        acks.release();
        loop {
            let reply = replies.next().await?;
            match &reply {
                Ok(Ok(matched)) if !acks.may_be_told(matched.as_ref()) => {}
                Ok(Ok(_)) => return Some((reply, Some((replies, acks)))),
                Ok(Err(_)) | Err(_) => return Some((reply, None)),
            }
        }
    })
}

struct Replies {
    recv: RecvStream,
    /// An item for each request that was sent, and the error that ended the sending.
    under_way: mpsc::Receiver<Result<(), FrameError>>,
    _sending: AbortOnDropHandle<()>,
}

impl Replies {
    async fn next(&mut self) -> Option<Result<AppendResult, AppendError>> {
        if let Err(error) = self.under_way.recv().await? {
            return Some(Err(error.into()));
        }
        let reply = timeout(STALL_MAX, frames::read_one::<AppendReplyV1>(&mut self.recv)).await;
        Some(match reply {
            Ok(Ok(reply)) => Ok(reply.into()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AppendError::Stalled),
        })
    }
}

async fn send_all(
    mut send: SendStream,
    mut requests: impl Stream<Item = AppendRequest> + Send + Unpin,
    now: impl Fn() -> Option<Stamp>,
    sent: mpsc::Sender<Result<(), FrameError>>,
) {
    while let Some(request) = requests.next().await {
        let (frame, whole) = match encode_what_fits(request, now()) {
            Ok(encoded) => encoded,
            Err(error) => {
                let _ = sent.send(Err(error.into())).await;
                return;
            }
        };
        if sent.send(Ok(())).await.is_err() {
            return;
        }
        if let Err(error) = send.write_chunk(frame).await {
            let _ = sent.send(Err(error.into())).await;
            return;
        }
        // What was left out comes in openraft's next stream, so nothing may follow in this one.
        if !whole {
            break;
        }
    }
    let _ = send.finish();
}

/// The frame, and whether it holds all entries: those that make it too large are left out.
fn encode_what_fits(
    mut request: AppendRequest,
    stamp: Option<Stamp>,
) -> Result<(Bytes, bool), EncodeError> {
    let mut whole = true;
    loop {
        match frames::encode(&AppendV1::new(&request, stamp)) {
            Ok(frame) => return Ok((frame, whole)),
            Err(error) if request.entries.len() < 2 => return Err(error),
            Err(_) => {
                request.entries.truncate(request.entries.len() / 2);
                whole = false;
            }
        }
    }
}

/// Serves one stream of appends from `peer`: hands them to `answer`, tells `heard` their stamps,
/// and sends the replies back in the same order.
///
/// # Errors
/// [`AppendError`] where the stream broke or held what it must not.
pub(crate) async fn serve<Replies, Stopped>(
    peer: u64,
    (send, recv): (SendStream, RecvStream),
    heard: impl Fn(Stamp),
    answer: impl FnOnce(stream::BoxStream<'static, AppendRequest>) -> Replies,
) -> Result<(), AppendError>
where
    Replies: Stream<Item = Result<AppendResult, Stopped>>,
{
    let (received, requests) = mpsc::channel(RECEIVED_MAX);
    let requests = stream::unfold(requests, |mut requests| async move {
        let request = requests.recv().await?;
        Some((request, requests))
    });
    let mut reading = pin!(read_requests(peer, recv, heard, received));
    let mut writing = pin!(write_replies(send, answer(requests.boxed())));
    tokio::select! {
        written = &mut writing => Ok(written?),
        read = &mut reading => {
            read?;
            Ok(writing.await?)
        }
    }
}

async fn read_requests(
    peer: u64,
    mut recv: RecvStream,
    heard: impl Fn(Stamp),
    received: mpsc::Sender<AppendRequest>,
) -> Result<(), AppendError> {
    while let Some(append) = frames::read::<AppendV1<'static>>(&mut recv).await? {
        if append.vote.voted_for != peer {
            return Err(AppendError::Impostor { peer, claimed: append.vote.voted_for });
        }
        append.stamp.map(&heard);
        if received.send(append.into_request()?).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn write_replies<Stopped>(
    mut send: SendStream,
    replies: impl Stream<Item = Result<AppendResult, Stopped>>,
) -> Result<(), FrameError> {
    let mut replies = pin!(replies);
    while let Some(reply) = replies.next().await {
        let Ok(reply) = reply else {
            // This node's Raft has stopped: the peer must not take that for the end of its input.
            let _ = send.reset(VarInt::from_u32(0));
            return Ok(());
        };
        match frames::write(&mut send, &AppendReplyV1::from(reply)).await {
            Ok(()) => {}
            // The peer lost interest, as after a change of leader.
            Err(FrameError::Write(WriteError::Stopped(_))) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let _ = send.finish();
    Ok(())
}
