//! Calls over one long-lived stream: many at once, each answered when its answer is ready.
//!
//! This is the calling side. A call that was not written is known to have had no effect; one that
//! was written and got no reply may have had any.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    frames::{self, FrameError},
    messages::{CallV1, ReplyV1},
    peers::CallError,
};

/// Calls that may wait for their replies on one stream; those beyond wait to be sent.
pub(crate) const CALLS_IN_FLIGHT_MAX: usize = 4_096;
/// Frames put into one write.
const WRITE_FRAMES_MAX: usize = 128;

const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// The calling end of one stream.
pub(crate) struct CallLane<Reply> {
    queue: mpsc::Sender<Outgoing<Reply>>,
    permits: Semaphore,
    next_id: AtomicU64,
    waiting: Arc<Waiting<Reply>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Outgoing<Reply> {
    id: u64,
    frame: Bytes,
    progress: Arc<AtomicU8>,
    reply: oneshot::Sender<Reply>,
}

/// Whoever waits for a reply, by the number of the call. `None` once the stream is gone.
type Replies<Reply> = Option<HashMap<u64, oneshot::Sender<Reply>>>;

struct Waiting<Reply>(Mutex<Replies<Reply>>);

impl<Reply> Waiting<Reply> {
    fn lock(&self) -> MutexGuard<'_, Replies<Reply>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody will be answered any more.
    fn close(&self) {
        *self.lock() = None;
    }
}

/// Forgets a call whose caller no longer waits.
struct Forget<'a, Reply> {
    waiting: &'a Waiting<Reply>,
    progress: Arc<AtomicU8>,
    id: u64,
}

impl<Reply> Forget<'_, Reply> {
    /// True where the call will never be written.
    fn withdraw(&self) -> bool {
        self.progress
            .compare_exchange(QUEUED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|found| found == WITHDRAWN, |_| true)
    }
}

impl<Reply> Drop for Forget<'_, Reply> {
    fn drop(&mut self) {
        if !self.withdraw()
            && let Some(waiting) = self.waiting.lock().as_mut()
        {
            waiting.remove(&self.id);
        }
    }
}

impl<Reply: DeserializeOwned + Send + 'static> CallLane<Reply> {
    /// Takes over both ends of a stream that was opened for calls. `broken` is called once when
    /// it can no longer be used.
    pub(crate) fn start(
        send: SendStream,
        recv: RecvStream,
        broken: impl Fn(&FrameError) + Clone + Send + 'static,
    ) -> Self {
        let (queue, queued) = mpsc::channel(CALLS_IN_FLIGHT_MAX);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let (at_write, on_write) = (waiting.clone(), broken.clone());
        let writer = tokio::spawn(async move {
            if let Err(error) = write_calls(send, queued, &at_write).await {
                on_write(&error);
            }
            at_write.close();
        });
        let at_read = waiting.clone();
        let reader = tokio::spawn(async move {
            let error = read_replies(recv, &at_read).await;
            broken(&error);
            at_read.close();
        });
        Self {
            queue,
            permits: Semaphore::new(CALLS_IN_FLIGHT_MAX),
            next_id: AtomicU64::new(0),
            waiting,
            _tasks: [writer, reader].map(AbortOnDropHandle::new),
        }
    }

    /// Sends a request and waits for its reply until `deadline`.
    ///
    /// # Errors
    /// [`CallError`] tells whether the request may have had an effect.
    pub(crate) async fn call<Request: Serialize>(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let not_sent = |reason: &str| CallError::NotSent(reason.to_owned());
        let permit = timeout_at(deadline, self.permits.acquire());
        let _permit = permit
            .await
            .map_err(|_| not_sent("too many calls wait for this peer"))?
            .map_err(|_| not_sent("the connection is closed"))?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = frames::encode(&CallV1 { id, request })
            .map_err(|error| CallError::NotSent(error.to_string()))?;
        let progress = Arc::new(AtomicU8::new(QUEUED));
        let forget = Forget { waiting: &self.waiting, progress: progress.clone(), id };
        let (reply, answered) = oneshot::channel();
        let outgoing = Outgoing { id, frame, progress, reply };
        timeout_at(deadline, self.queue.send(outgoing))
            .await
            .map_err(|_| not_sent("the peer does not take what is sent"))?
            .map_err(|_| not_sent("the connection was lost"))?;
        let failure = match timeout_at(deadline, answered).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(_)) => String::from("the connection was lost"),
            Err(_) => String::from("no reply in time"),
        };
        if forget.withdraw() {
            Err(CallError::NotSent(failure))
        } else {
            Err(CallError::Unknown(failure))
        }
    }
}

async fn write_calls<Reply>(
    mut send: SendStream,
    mut queued: mpsc::Receiver<Outgoing<Reply>>,
    waiting: &Waiting<Reply>,
) -> Result<(), FrameError> {
    let mut batch = Vec::with_capacity(WRITE_FRAMES_MAX);
    while queued.recv_many(&mut batch, WRITE_FRAMES_MAX).await != 0 {
        let mut written = Vec::with_capacity(batch.len());
        for outgoing in batch.drain(..) {
            let Outgoing { id, frame, progress, reply } = outgoing;
            let take =
                progress.compare_exchange(QUEUED, WRITTEN, Ordering::AcqRel, Ordering::Acquire);
            if take.is_err() {
                continue;
            }
            // Dropping `reply` where the stream is gone already tells its caller.
            if let Some(waiting) = waiting.lock().as_mut() {
                waiting.insert(id, reply);
            }
            written.push(frame);
        }
        send.write_all_chunks(&mut written).await?;
    }
    Ok(())
}

async fn read_replies<Reply: DeserializeOwned>(
    mut recv: RecvStream,
    waiting: &Waiting<Reply>,
) -> FrameError {
    loop {
        let ReplyV1 { id, reply } = match frames::read_one(&mut recv).await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        let waiter = waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
        // Nobody waits any more where the caller gave up: the reply came late.
        if let Some(waiter) = waiter {
            let _ = waiter.send(reply);
        }
    }
}
