//! The conversation on one WebSocket, from `CONNECTED` to its end.

use std::{ops::ControlFlow, pin::Pin, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use synckairos_protocol::{
    ids::SessionId,
    reject::Reject,
    session::Session,
    wire::{
        rest::SessionState,
        ws::{ClientMessage, ServerMessage},
    },
};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, Now, Push, Subscription, text};
use crate::sessions::refusal::Refusal;

/// Messages written together before they are flushed.
const TOGETHER_MAX: usize = 32;

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const PROTOCOL: u16 = 1002;
const POLICY: u16 = 1008;
const INTERNAL: u16 = 1011;
const SLOW: u16 = 4008;

/// What a client wants to watch, as its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    MissingId,
    MalformedId,
    /// `snapshot` asks for the state at once.
    Session {
        session: SessionId,
        snapshot: bool,
    },
}

type Reading = Pin<Box<dyn Future<Output = Result<Option<Arc<Session>>, Refusal>> + Send>>;

/// What a conversation may use. It reads sessions through a function, since it knows nothing of
/// how the cluster agrees on them.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) hub: Hub,
    /// The session as of some moment between call and return.
    pub(crate) read: Arc<dyn Fn(SessionId) -> Reading + Send + Sync>,
    pub(crate) clock: Now,
    pub(crate) stopping: CancellationToken,
    pub(crate) timing: Timing,
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
    /// Without a word: the client is gone, or does not answer.
    Drop,
}

const STOPPING: Ending = Ending::Close(GOING_AWAY, "Server shutting down");
const TOO_SLOW: Ending = Ending::Close(SLOW, "slow consumer");
const FAILED: Ending = Ending::Close(INTERNAL, "Internal server error");

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
    let close_time = context.timing.close;
    let ending = match watch {
        Watch::MissingId => Ending::Close(POLICY, "Missing sessionId parameter"),
        Watch::MalformedId => Ending::Close(POLICY, "Invalid sessionId format"),
        Watch::Session { session, snapshot } => {
            converse(&mut socket, session, snapshot, context).await
        }
    };
    let Ending::Close(code, reason) = ending else { return };
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
    snapshot: bool,
    context: Context,
) -> Ending {
    let hub = context.hub.clone();
    // Before `CONNECTED` is sent, so that no change after it is missed.
    let Ok(subscription) = hub.subscribe(session).await else { return STOPPING };
    let mut conversation = Conversation {
        socket,
        session,
        context,
        subscription,
        synced: None,
        seen: false,
        answered: true,
    };
    let ending = conversation.hold(snapshot).await;
    hub.unsubscribe(conversation.subscription).await;
    ending
}

struct Conversation<'a, T> {
    socket: &'a mut T,
    session: SessionId,
    context: Context,
    subscription: Subscription,
    /// The version of the last `STATE_SYNC`: updates up to it tell the client nothing new.
    synced: Option<u64>,
    /// Does the client know the session to exist?
    seen: bool,
    /// Was the last ping answered?
    answered: bool,
}

/// Everything that can wake a conversation.
enum Input {
    Stopping,
    Slow,
    Heard(Option<Result<Message, axum::Error>>),
    Pushed(Option<Push>),
    Beat,
}

impl<T: Transport> Conversation<'_, T> {
    async fn hold(&mut self, snapshot: bool) -> Ending {
        match self.talk(snapshot).await {
            ControlFlow::Break(ending) => ending,
            ControlFlow::Continue(never) => match never {},
        }
    }

    async fn talk(&mut self, snapshot: bool) -> ControlFlow<Ending, std::convert::Infallible> {
        let connected = ServerMessage::Connected {
            session_id: self.session.to_string(),
            timestamp: (self.context.clock)(),
        };
        self.say(&connected).await?;
        if snapshot {
            self.sync_on_request().await?;
        }
        let period = self.context.timing.heartbeat;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let input = tokio::select! {
                () = self.context.stopping.cancelled() => Input::Stopping,
                () = self.subscription.slow.cancelled() => Input::Slow,
                message = self.socket.next() => Input::Heard(message),
                push = self.subscription.queue.recv() => Input::Pushed(push),
                _ = heartbeat.tick() => Input::Beat,
            };
            match input {
                Input::Stopping => return ControlFlow::Break(STOPPING),
                Input::Slow => return ControlFlow::Break(TOO_SLOW),
                Input::Heard(message) => self.hear(message).await?,
                Input::Pushed(push) => self.pass_on(push).await?,
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
            Some(ClientMessage::Ping) => {
                self.say(&ServerMessage::Pong { timestamp: (self.context.clock)() }).await
            }
            Some(ClientMessage::Reconnect) => self.sync_on_request().await,
            None => ControlFlow::Continue(()),
        }
    }

    /// Hands on what the hub handed out, and what else is waiting by now, in one write.
    async fn pass_on(&mut self, first: Option<Push>) -> ControlFlow<Ending> {
        // The hub drops a subscriber for being slow, or because it has stopped.
        let Some(first) = first else {
            let slow = self.subscription.slow.is_cancelled();
            return ControlFlow::Break(if slow { TOO_SLOW } else { STOPPING });
        };
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(push) = next {
            match push {
                Push::Update { version, text } => {
                    self.seen = true;
                    if self.synced.is_none_or(|synced| synced < version) {
                        batch.push(text);
                    }
                }
                Push::Notice(text) => batch.push(text),
                Push::Deleted(text) => {
                    batch.push(text);
                    self.write(batch).await?;
                    return ControlFlow::Break(Ending::Close(NORMAL, "Session deleted"));
                }
                Push::Resync => {
                    self.write(batch).await?;
                    return self.resync().await;
                }
            }
            next = if batch.len() < TOGETHER_MAX {
                self.subscription.queue.try_recv().ok()
            } else {
                None
            };
        }
        self.write(batch).await
    }

    async fn beat(&mut self) -> ControlFlow<Ending> {
        if !self.answered {
            return ControlFlow::Break(Ending::Drop);
        }
        self.answered = false;
        self.send(vec![Message::Ping(Bytes::new())]).await
    }

    /// The client asked for the state.
    async fn sync_on_request(&mut self) -> ControlFlow<Ending> {
        let refusal = match (self.context.read)(self.session).await {
            Ok(Some(session)) => return self.say_state(&session).await,
            Ok(None) => Refusal::Rejected(Reject::SessionNotFound(self.session)),
            Err(refusal) => refusal,
        };
        let code = String::from(refusal.kind().meaning().code);
        self.say(&ServerMessage::Error { code, message: refusal.to_string() }).await
    }

    /// Changes were skipped: the client gets the state as it is now.
    async fn resync(&mut self) -> ControlFlow<Ending> {
        match (self.context.read)(self.session).await {
            Ok(Some(session)) => self.say_state(&session).await,
            Ok(None) if self.seen => {
                let now = (self.context.clock)();
                self.say(&ServerMessage::SessionDeleted {
                    session_id: self.session,
                    timestamp: now,
                    revision: None,
                    cause: None,
                    server_time: now,
                })
                .await?;
                ControlFlow::Break(Ending::Close(NORMAL, "Session deleted"))
            }
            Ok(None) => ControlFlow::Continue(()),
            // A client that stayed would take what it has for the truth.
            Err(_) => ControlFlow::Break(FAILED),
        }
    }

    async fn say_state(&mut self, session: &Session) -> ControlFlow<Ending> {
        let now = (self.context.clock)();
        self.seen = true;
        self.synced = Some(session.version);
        self.say(&ServerMessage::StateSync {
            session_id: session.id,
            timestamp: now,
            state: Box::new(SessionState::from(session)),
            version: session.version,
            server_time: now,
        })
        .await
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
            () = self.subscription.slow.cancelled() => ControlFlow::Break(TOO_SLOW),
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
