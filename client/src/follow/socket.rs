//! The sockets of one follower, one after the other.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use synckairos_protocol::{
    ids::SessionId,
    wire::ws::{ClientMessage, ServerMessage},
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::{
    FollowEvent,
    tracker::{Point, Then, Tracker},
};
use crate::{client::Inner, pace};

/// A node pings every 5 s; one that is silent for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(16);
/// Longest wait for the state that was asked for: a node that cannot give it knows no leader.
const SYNC_MAX: Duration = Duration::from_secs(7);
/// A connection that held for this long makes up for the failures before it.
const STEADY: Duration = Duration::from_secs(10);
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a socket is not read any more.
enum Outcome {
    /// The follower knows all there is to know, or does not listen.
    Done,
    Lost {
        reason: String,
        held: Duration,
    },
}

/// Tells `events` what happens to `session` until it is gone or nobody listens.
pub(super) async fn follow(
    client: Arc<Inner>,
    session: SessionId,
    events: mpsc::Sender<FollowEvent>,
) {
    let nodes = &client.nodes;
    let mut tracker = Tracker::default();
    let mut node = nodes.preferred();
    let (mut failures, mut pauses) = (0_usize, 0);
    loop {
        tracker.reconnected();
        let url = nodes.url(node);
        let visit = Visit { url, session, connect_timeout: client.config.connect_timeout };
        let (reason, held) = match visit.run(&mut tracker, &events).await {
            Outcome::Done => return,
            Outcome::Lost { reason, held } => (reason, held),
        };
        tracing::debug!(node = url, %session, reason, "the follower goes to another node");
        let lost = FollowEvent::Disconnected { node: url.to_owned(), reason };
        if events.send(lost).await.is_err() {
            return;
        }
        if STEADY <= held {
            (failures, pauses) = (0, 0);
        }
        failures += 1;
        if failures.is_multiple_of(nodes.count()) {
            tokio::time::sleep(pace::pause(pauses)).await;
            pauses += 1;
        }
        nodes.failed(node);
        node = nodes.after(node);
    }
}

/// One socket to one node.
struct Visit<'a> {
    url: &'a str,
    session: SessionId,
    connect_timeout: Duration,
}

impl Visit<'_> {
    async fn run(&self, tracker: &mut Tracker, events: &mpsc::Sender<FollowEvent>) -> Outcome {
        let lost = |reason, held| Outcome::Lost { reason, held };
        let from = tracker.point();
        let mut socket = match self.connect(from).await {
            Ok(socket) => socket,
            Err(reason) => return lost(reason, Duration::ZERO),
        };
        let opened = Instant::now();
        // A node that resumes says nothing where nothing was missed.
        let mut sync_due = from.is_none().then_some(opened + SYNC_MAX);
        loop {
            let message = match next_message(&mut socket, sync_due).await {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(reason) => return lost(reason, opened.elapsed()),
            };
            let step = tracker.take(message);
            if step.then == Then::AskForState {
                if let Err(reason) = ask_for_state(&mut socket).await {
                    return lost(reason, opened.elapsed());
                }
                sync_due = Some(Instant::now() + SYNC_MAX);
            }
            if matches!(step.then, Then::Connected | Then::AskForState) {
                let live = FollowEvent::Connected { node: self.url.to_owned() };
                if events.send(live).await.is_err() {
                    return Outcome::Done;
                }
            }
            for event in step.events {
                if events.send(event).await.is_err() {
                    return Outcome::Done;
                }
            }
            match step.then {
                Then::Read | Then::Connected | Then::AskForState => {}
                Then::Synced => sync_due = None,
                Then::Leave(reason) => return lost(reason, opened.elapsed()),
                Then::End => return Outcome::Done,
            }
        }
    }

    /// A socket that goes on after `from`, or begins with the state.
    async fn connect(&self, from: Option<Point>) -> Result<Socket, String> {
        let address = self.url.strip_prefix("http").unwrap_or(self.url);
        let begin = match from {
            None => String::from("snapshot=true"),
            Some(Point { version, revision: None }) => format!("since={version}"),
            Some(Point { version, revision: Some(revision) }) => {
                format!("since={version}&revision={revision}")
            }
        };
        let url = format!("ws{address}/ws?sessionId={}&{begin}", self.session);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connecting = connect_async_with_config(url, Some(config), true);
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(String::from("no connection in time")),
        }
    }
}

/// The next message of ours; `None` for a frame of the protocol below.
async fn next_message(
    socket: &mut Socket,
    sync_due: Option<Instant>,
) -> Result<Option<ServerMessage>, String> {
    let silent_at = Instant::now() + SILENCE_MAX;
    let due = sync_due.map_or(silent_at, |sync_due| sync_due.min(silent_at));
    let frame = match timeout_at(due, socket.next()).await {
        Ok(Some(Ok(frame))) => frame,
        Ok(Some(Err(error))) => return Err(error.to_string()),
        Ok(None) => return Err(String::from("the connection was closed")),
        Err(_) => return Err(String::from("the node says nothing")),
    };
    match frame {
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(message) => Ok(Some(message)),
            Err(error) => Err(format!("a message cannot be read: {error}")),
        },
        Message::Close(Some(frame)) => {
            Err(format!("closed with {}: {}", u16::from(frame.code), frame.reason))
        }
        Message::Close(None) => Err(String::from("closed without a reason")),
        // Pings are answered by the socket itself.
        Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

async fn ask_for_state(socket: &mut Socket) -> Result<(), String> {
    let text = serde_json::to_string(&ClientMessage::Reconnect)
        .expect("a message without fields has a JSON form");
    socket.send(Message::text(text)).await.map_err(|error| error.to_string())
}
