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
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

use super::{
    FollowEvent,
    tracker::{Point, Then, Tracker},
};
use crate::{
    client::Inner,
    discovery::{self, Occasion},
    nodes::{Node, Round},
    pace,
};

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
    Lost(Loss),
}

struct Loss {
    reason: String,
    /// How long the socket was open.
    held: Duration,
    /// Is there nobody at the address?
    is_gone: bool,
}

/// Tells `events` what happens to `session` until it is gone or nobody listens.
pub(super) async fn follow(
    client: Arc<Inner>,
    session: SessionId,
    events: mpsc::Sender<FollowEvent>,
) {
    let nodes = &client.nodes;
    let mut tracker = Tracker::default();
    let (mut node, mut round, mut has_moved) = (nodes.preferred(), Round::default(), false);
    let mut pauses = 0;
    loop {
        tracker.reconnected();
        let visit = Visit { client: &client, node: &node, session, has_moved };
        let loss = match visit.run(&mut tracker, &events).await {
            Outcome::Done => return,
            Outcome::Lost(loss) => loss,
        };
        let Loss { reason, held, is_gone } = loss;
        tracing::debug!(%node, %session, reason, "the follower goes to another node");
        let lost = FollowEvent::Disconnected { node: node.to_string(), reason };
        if events.send(lost).await.is_err() {
            return;
        }
        if STEADY <= held {
            (round, pauses) = (Round::default(), 0);
        }
        has_moved = true;
        nodes.failed(&node, is_gone);
        let (next, all_asked) = nodes.next(&node, &mut round);
        node = next;
        if all_asked {
            discovery::consider(&client, Occasion::NobodyLeft, None);
            tokio::time::sleep(pace::pause(pauses)).await;
            pauses += 1;
        }
    }
}

/// One socket to one node.
struct Visit<'a> {
    client: &'a Arc<Inner>,
    node: &'a Node,
    session: SessionId,
    /// Did another node fail before?
    has_moved: bool,
}

impl Visit<'_> {
    async fn run(&self, tracker: &mut Tracker, events: &mpsc::Sender<FollowEvent>) -> Outcome {
        let from = tracker.point();
        let mut socket = match self.connect(from).await {
            Ok(socket) => socket,
            Err(loss) => return Outcome::Lost(loss),
        };
        let opened = Instant::now();
        let lost = |reason| Outcome::Lost(Loss { reason, held: opened.elapsed(), is_gone: false });
        // A node that resumes says nothing where nothing was missed.
        let mut sync_due = from.is_none().then_some(opened + SYNC_MAX);
        loop {
            let heard = match next_heard(&mut socket, sync_due).await {
                Ok(heard) => heard,
                Err(reason) => return lost(reason),
            };
            let told = heard.revision.map(|revision| (self.node, revision));
            discovery::consider(self.client, Occasion::InUse, told);
            let Some(message) = heard.message else { continue };
            let step = tracker.take(message);
            if step.then == Then::AskForState {
                if let Err(reason) = ask_for_state(&mut socket).await {
                    return lost(reason);
                }
                sync_due = Some(Instant::now() + SYNC_MAX);
            }
            if matches!(step.then, Then::Connected | Then::AskForState) {
                self.holds();
                let live = FollowEvent::Connected { node: self.node.to_string() };
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
                Then::Leave(reason) => return lost(reason),
                Then::End => return Outcome::Done,
            }
        }
    }

    /// The node serves the follower.
    fn holds(&self) {
        self.client.nodes.answered(self.node);
        if self.has_moved {
            discovery::consider(self.client, Occasion::Moved, None);
        }
    }

    /// A socket that goes on after `from`, or begins with the state.
    async fn connect(&self, from: Option<Point>) -> Result<Socket, Loss> {
        let address = self.node.strip_prefix("http").unwrap_or(self.node);
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
        let (reason, is_gone) = match timeout(self.client.config.connect_timeout, connecting).await
        {
            Ok(Ok((socket, _))) => return Ok(socket),
            // Somebody is there, and may have room or a leader later.
            Ok(Err(error @ Error::Http(_))) => (error.to_string(), false),
            Ok(Err(error)) => (error.to_string(), true),
            Err(_) => (String::from("no connection in time"), true),
        };
        Err(Loss { reason, held: Duration::ZERO, is_gone })
    }
}

/// What a frame held.
#[derive(Default)]
struct Heard {
    message: Option<ServerMessage>,
    /// Of the membership, in a ping; the nodes of an earlier release do not tell it.
    revision: Option<u64>,
}

async fn next_heard(socket: &mut Socket, sync_due: Option<Instant>) -> Result<Heard, String> {
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
            Ok(message) => Ok(Heard { message: Some(message), revision: None }),
            Err(error) => Err(format!("a message cannot be read: {error}")),
        },
        Message::Close(Some(frame)) => {
            Err(format!("closed with {}: {}", u16::from(frame.code), frame.reason))
        }
        Message::Close(None) => Err(String::from("closed without a reason")),
        // It is answered by the socket itself.
        Message::Ping(told) => {
            let revision = std::str::from_utf8(&told).ok().and_then(|told| told.parse().ok());
            Ok(Heard { message: None, revision })
        }
        Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => Ok(Heard::default()),
    }
}

async fn ask_for_state(socket: &mut Socket) -> Result<(), String> {
    let text = serde_json::to_string(&ClientMessage::Reconnect)
        .expect("a message without fields has a JSON form");
    socket.send(Message::text(text)).await.map_err(|error| error.to_string())
}
