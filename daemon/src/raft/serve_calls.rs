//! The answering side of calls: many at a time, each reply sent when it is ready.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    calls::CALLS_IN_FLIGHT_MAX,
    frames::{self, FrameError},
    messages::{CallV1, ReplyV1},
};

/// Frames put into one write.
const WRITE_FRAMES_MAX: usize = 128;
/// Calls that are being answered when the node stops may take so long.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Answers the calls of one stream with `answer` until the stream ends or `stop` is cancelled.
/// Beyond [`CALLS_IN_FLIGHT_MAX`] at a time, the reply is `busy`.
///
/// # Errors
/// [`FrameError`] where the stream broke; calls that are being answered are dropped then.
pub(crate) async fn serve_calls<Request, Reply, Answering>(
    (send, recv): (SendStream, RecvStream),
    stop: CancellationToken,
    answer: impl Fn(Request) -> Answering,
    busy: impl Fn(&Request) -> Reply,
) -> Result<(), FrameError>
where
    Request: DeserializeOwned,
    Reply: Serialize + Send + 'static,
    Answering: Future<Output = Reply> + Send + 'static,
{
    let (replies, ready) = mpsc::channel(CALLS_IN_FLIGHT_MAX);
    let calls = Calls { answer, busy, replies };
    tokio::try_join!(calls.read(recv, stop), write_replies(send, ready)).map(|_| ())
}

struct Calls<Answer, Busy> {
    answer: Answer,
    busy: Busy,
    replies: mpsc::Sender<Bytes>,
}

impl<Answer, Busy> Calls<Answer, Busy> {
    async fn read<Request, Reply, Answering>(
        self,
        mut recv: RecvStream,
        stop: CancellationToken,
    ) -> Result<(), FrameError>
    where
        Request: DeserializeOwned,
        Reply: Serialize + Send + 'static,
        Answering: Future<Output = Reply> + Send + 'static,
        Answer: Fn(Request) -> Answering,
        Busy: Fn(&Request) -> Reply,
    {
        let permits = Arc::new(Semaphore::new(CALLS_IN_FLIGHT_MAX));
        let mut answering = JoinSet::new();
        loop {
            let frame = tokio::select! {
                () = stop.cancelled() => break,
                frame = frames::read::<CallV1<Request>>(&mut recv) => frame?,
            };
            let Some(CallV1 { id, request }) = frame else { break };
            while answering.try_join_next().is_some() {}
            let replies = self.replies.clone();
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                reply(&replies, ReplyV1 { id, reply: (self.busy)(&request) }).await;
                continue;
            };
            let answer = (self.answer)(request);
            answering.spawn(async move {
                reply(&replies, ReplyV1 { id, reply: answer.await }).await;
                drop(permit);
            });
        }
        let drained = timeout(DRAIN_MAX, async { while answering.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(calls = answering.len(), "calls of a peer were cut short");
        }
        Ok(())
    }
}

async fn reply<Reply: Serialize>(replies: &mpsc::Sender<Bytes>, reply: ReplyV1<Reply>) {
    match frames::encode(&reply) {
        // Fails where the stream is gone, which its writer reports.
        Ok(frame) => drop(replies.send(frame).await),
        // The caller hears nothing, which is what it must assume anyway: outcome unknown.
        Err(error) => tracing::error!(%error, "a reply to a peer cannot be encoded"),
    }
}

async fn write_replies(
    mut send: SendStream,
    mut ready: mpsc::Receiver<Bytes>,
) -> Result<(), FrameError> {
    let mut frames = Vec::with_capacity(WRITE_FRAMES_MAX);
    while ready.recv_many(&mut frames, WRITE_FRAMES_MAX).await != 0 {
        match send.write_all_chunks(&mut frames).await {
            Ok(()) => frames.clear(),
            Err(WriteError::Stopped(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let _ = send.finish();
    // A connection that is closed at once could take unread replies with it.
    let _ = timeout(DRAIN_MAX, send.stopped()).await;
    Ok(())
}
