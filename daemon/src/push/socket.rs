//! The conversation on one WebSocket, from `CONNECTED` to its end.

mod requests;

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use synckairos_protocol::{
    ids::SessionId,
    time::Stamp,
    wire::ws::{ClientMessage, NotAMessage, ServerMessage},
};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Staleness,
    hub::{Delivery, Mailbox},
    lost_touch,
    messages::text,
    source::Source,
    told::{News, Point, Told},
};

/// Messages written together before they are flushed.
const TOGETHER_MAX: usize = 32;

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const PROTOCOL: u16 = 1002;
const POLICY: u16 = 1008;
const TRY_ELSEWHERE: u16 = 1013;
const SLOW: u16 = 4008;
const OUT_OF_TOUCH: u16 = 4013;

/// What a client wants to watch, as its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    MissingId,
    MalformedId,
    /// `since` or `revision` is no whole number.
    MalformedSince,
    Session {
        session: SessionId,
        begin: Begin,
    },
}

/// What comes before live updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Everything after this.
    pub(crate) after: Option<Point>,
    /// The state, whatever came before it.
    pub(crate) snapshot: bool,
}

/// Live updates and nothing else, as in v2.
const LIVE: Begin = Begin { after: None, snapshot: false };

/// What a conversation may use.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) source: Source,
    pub(crate) staleness: Staleness,
    /// Revision of the cluster's membership. Pings carry it in decimal digits where the client began
    /// with `since` or `snapshot`, so that one that only listens knows when to ask who the members
    /// are; a client of v2 gets empty ones, as in v2.
    pub(crate) membership: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) stopping: CancellationToken,
    pub(crate) timing: Timing,
    /// Sessions that one socket may watch.
    pub(crate) subscriptions_max: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Between two pings; who has not answered the last one by then is gone.
    pub(crate) heartbeat: Duration,
    /// How long one write may take.
    pub(crate) send: Duration,
    /// How long a client may take to answer a close.
    pub(crate) close: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let (heartbeat, send, close) = (5, 10, 2);
        Self {
            heartbeat: Duration::from_secs(heartbeat),
            send: Duration::from_secs(send),
            close: Duration::from_secs(close),
        }
    }
}

/// How a conversation ends.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Close(u16, &'static str),
    /// The node knows of nothing after this.
    Stale(Stamp),
    /// Without a word: the client is gone, or does not answer.
    Drop,
}

const STOPPING: Ending = Ending::Close(GOING_AWAY, "Server shutting down");
const TOO_SLOW: Ending = Ending::Close(SLOW, "slow consumer");
const GONE: Ending = Ending::Close(NORMAL, "Session deleted");
/// A client that stayed would take what it has for the truth.
const CANNOT_READ: Ending = Ending::Close(TRY_ELSEWHERE, "this node cannot read the session now");

/// A WebSocket, or what stands for one.
pub(crate) trait Transport:
    Stream<Item = Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Unpin + Send
{
}

impl<T> Transport for T where
    T: Stream<Item = Result<Message, axum::Error>>
        + Sink<Message, Error = axum::Error>
        + Unpin
        + Send
{
}

/// Holds the conversation until either side ends it.
pub(crate) async fn run(mut socket: impl Transport, watch: Watch, context: Context) {
    let (close_time, send_time) = (context.timing.close, context.timing.send);
    let ending = match watch {
        Watch::MissingId => Ending::Close(POLICY, "Missing sessionId parameter"),
        Watch::MalformedId => Ending::Close(POLICY, "Invalid sessionId format"),
        Watch::MalformedSince => Ending::Close(POLICY, "Invalid since or revision parameter"),
        Watch::Session { session, begin } => converse(&mut socket, session, begin, context).await,
    };
    let (code, reason) = match ending {
        Ending::Close(code, reason) => (code, reason),
        Ending::Stale(since) => {
            let stale = Message::Text(text(&ServerMessage::Stale { since }));
            // Whoever does not take it is told by the code.
            let _ = timeout(send_time, socket.send(stale)).await;
            (OUT_OF_TOUCH, "out of touch with the leader")
        }
        Ending::Drop => return,
    };
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let farewell = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            // Until the client has answered, so that what it still sends does not reset the
            // connection before it has read why.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // Who does not answer in time is dropped.
    let _ = timeout(close_time, farewell).await;
}

async fn converse(
    socket: &mut impl Transport,
    session: SessionId,
    begin: Begin,
    context: Context,
) -> Ending {
    if let Some(since) = *context.staleness.borrow() {
        return Ending::Stale(since);
    }
    let hub = context.source.hub.clone();
    let mut conversation = Conversation {
        socket,
        main: session,
        staleness: context.staleness.clone(),
        context,
        mailbox: Mailbox::new(),
        watched: HashMap::new(),
        several: false,
        answered: true,
        begins_as_v2: begin == LIVE,
    };
    let ending = match conversation.talk(begin).await {
        ControlFlow::Break(ending) => ending,
        ControlFlow::Continue(never) => match never {},
    };
    let watched = std::mem::take(&mut conversation.watched);
    let numbers = watched.into_iter().map(|(session, watched)| (session, watched.subscription));
    hub.unsubscribe(numbers.collect()).await;
    ending
}

struct Conversation<'a, T> {
    socket: &'a mut T,
    /// The session of the URL.
    main: SessionId,
    context: Context,
    staleness: Staleness,
    mailbox: Mailbox,
    watched: HashMap<SessionId, Watched>,
    /// Has the client asked for other sessions than the one of the URL? Then the end of one of
    /// them is not the end of the socket.
    several: bool,
    /// Was the last ping answered?
    answered: bool,
    begins_as_v2: bool,
}

/// A session that the socket watches.
struct Watched {
    subscription: u64,
    told: Told,
}

/// Everything that can wake a conversation.
enum Input {
    Stopping,
    Stale(Stamp),
    Slow,
    Heard(Option<Result<Message, axum::Error>>),
    Pushed(Delivery),
    Beat,
}

impl<T: Transport> Conversation<'_, T> {
    async fn talk(&mut self, begin: Begin) -> ControlFlow<Ending, std::convert::Infallible> {
        // Before `CONNECTED` is sent, so that no change after it is missed. Who resumes gets a
        // place when its history is read.
        if begin.after.is_none() {
            self.watch(self.main, Told::default()).await?;
        }
        let connected = ServerMessage::Connected {
            session_id: self.main.to_string(),
            timestamp: self.now(),
            resuming: begin.after.map(|_| true),
        };
        self.say(&connected).await?;
        self.begin(self.main, begin).await?;
        let period = self.context.timing.heartbeat;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let input = tokio::select! {
                () = self.context.stopping.cancelled() => Input::Stopping,
                () = self.context.source.hub.stopped() => Input::Stopping,
                since = lost_touch(&mut self.staleness) => Input::Stale(since),
                message = self.socket.next() => Input::Heard(message),
                delivery = self.mailbox.next() => delivery.map_or(Input::Slow, Input::Pushed),
                _ = heartbeat.tick() => Input::Beat,
            };
            match input {
                Input::Stopping => return ControlFlow::Break(STOPPING),
                Input::Stale(since) => return ControlFlow::Break(Ending::Stale(since)),
                Input::Slow => return ControlFlow::Break(TOO_SLOW),
                Input::Heard(message) => self.hear(message).await?,
                Input::Pushed(delivery) => self.pass_on(delivery).await?,
                Input::Beat => self.beat().await?,
            }
        }
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> ControlFlow<Ending> {
        let bytes: Bytes = match message {
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Pong(_))) => {
                self.answered = true;
                return ControlFlow::Continue(());
            }
            // Answered by the library.
            Some(Ok(Message::Ping(_))) => return ControlFlow::Continue(()),
            Some(Ok(Message::Close(_))) => {
                // The library answers it while the stream is read to its end.
                let rest = async { while let Some(Ok(_)) = self.socket.next().await {} };
                let _ = timeout(self.context.timing.close, rest).await;
                return ControlFlow::Break(Ending::Drop);
            }
            Some(Err(_)) => {
                let reason = "invalid frame, or a message over 65536 bytes";
                return ControlFlow::Break(Ending::Close(PROTOCOL, reason));
            }
            None => return ControlFlow::Break(Ending::Drop),
        };
        match ClientMessage::parse(&bytes) {
            Ok(message) => self.answer(message).await,
            Err(NotAMessage::Faulty(fault)) => self.say_faulty(fault).await,
            Err(NotAMessage::Unknown) => ControlFlow::Continue(()),
        }
    }

    /// Hands on what the hub handed out, and what else is waiting by now, in one write.
    async fn pass_on(&mut self, first: Delivery) -> ControlFlow<Ending> {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(Delivery { subscription, session, push }) = next {
            let watched = self.watched.get_mut(&session);
            // What is left of a subscription that was given back is no news.
            let watched = watched.filter(|watched| watched.subscription == subscription);
            match watched.map_or(News::Old, |watched| watched.told.take(push)) {
                News::Old => {}
                News::Tell(telling) => batch.push(telling.text),
                News::End(telling) => {
                    batch.push(telling.text);
                    if !self.several {
                        self.write(batch).await?;
                        return ControlFlow::Break(GONE);
                    }
                    self.unwatch(session).await;
                }
                News::Resync => {
                    self.write(std::mem::take(&mut batch)).await?;
                    self.resync(session).await?;
                }
            }
            next = if batch.len() < TOGETHER_MAX { self.mailbox.try_next() } else { None };
        }
        self.write(batch).await
    }

    async fn beat(&mut self) -> ControlFlow<Ending> {
        // The answer may wait behind what took its time meanwhile.
        for _ in 0..TOGETHER_MAX {
            if self.answered {
                break;
            }
            let Some(message) = self.socket.next().now_or_never() else { break };
            self.hear(message).await?;
        }
        if !self.answered {
            return ControlFlow::Break(Ending::Drop);
        }
        self.answered = false;
        let payload = if self.begins_as_v2 {
            Bytes::new()
        } else {
            (self.context.membership)().to_string().into()
        };
        self.send(vec![Message::Ping(payload)]).await
    }

    fn now(&self) -> Stamp {
        (self.context.source.clock)()
    }

    async fn say(&mut self, message: &ServerMessage) -> ControlFlow<Ending> {
        self.write(vec![text(message)]).await
    }

    async fn write(&mut self, texts: Vec<Utf8Bytes>) -> ControlFlow<Ending> {
        self.send(texts.into_iter().map(Message::Text).collect()).await
    }

    /// Writes within bounds of time: a client that does not read must not hold the node back.
    async fn send(&mut self, messages: Vec<Message>) -> ControlFlow<Ending> {
        let socket = &mut *self.socket;
        let writing = timeout(self.context.timing.send, async {
            for message in messages {
                socket.feed(message).await?;
            }
            socket.flush().await
        });
        tokio::select! {
            biased;
            written = writing => match written {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) => ControlFlow::Break(Ending::Drop),
                Err(_) => ControlFlow::Break(TOO_SLOW),
            },
            () = self.context.stopping.cancelled() => ControlFlow::Break(STOPPING),
            () = self.mailbox.slow.cancelled() => ControlFlow::Break(TOO_SLOW),
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
