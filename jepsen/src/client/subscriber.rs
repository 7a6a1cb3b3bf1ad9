//! A subscriber: one WebSocket on many sessions, which goes on elsewhere when it is cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Notify, time::Instant};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

use crate::history::{
    recorder::Recorder,
    tape::{Frame, What},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Nodes ping every five seconds: a socket that says nothing for this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(12);
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// A code for connections that ended without a close frame.
const ABNORMAL: u16 = 1006;

/// Where nodes are: asked anew before each connection, because members come and go.
pub type Addresses = Arc<dyn Fn() -> Vec<(String, SocketAddr)> + Send + Sync>;

/// How a subscriber behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manners {
    /// Cuts its own connection after about this long, again and again.
    pub cut_every: Option<Duration>,
    /// Reads one message in this time.
    pub read_every: Option<Duration>,
    /// Goes to another node after each cut, not to its own one.
    pub wanders: bool,
}

impl Manners {
    /// Holds on to its node, and reads as fast as it can.
    pub const STEADY: Self = Self { cut_every: None, read_every: None, wanders: false };
}

/// The sessions that a subscriber is to follow; shared with whoever makes sessions.
#[derive(Clone, Default)]
pub struct Following {
    sessions: Arc<Mutex<BTreeMap<String, Option<Point>>>>,
    changed: Arc<Notify>,
}

/// The last update that was seen: its version and its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    version: u64,
    revision: Option<u64>,
}

type Socket = WebSocketStream<TcpStream>;

impl Following {
    /// Follows one more session, from its first version.
    pub fn add(&self, session: &str) {
        self.lock().entry(session.to_owned()).or_insert(None);
        self.changed.notify_one();
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The last version that was seen of a session.
    pub fn version(&self, session: &str) -> Option<u64> {
        self.lock().get(session).copied().flatten().map(|point| point.version)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<Point>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Subscriber {
    pub name: String,
    /// The node that it likes best.
    pub home: usize,
    pub manners: Manners,
    pub following: Following,
    pub addresses: Addresses,
    pub recorder: Recorder,
    pub seed: u64,
}

impl Subscriber {
    /// Listens until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let (mut connection, mut turn) = (0, self.home);
        while !stop.is_cancelled() {
            let addresses = (self.addresses)();
            let Some((node, address)) = addresses.get(turn % addresses.len().max(1)).cloned()
            else {
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            };
            let followed = {
                let attempt = self.connect(address);
                let socket = tokio::select! {
                    socket = attempt => socket,
                    () = stop.cancelled() => return,
                };
                match socket {
                    Some(socket) => {
                        connection += 1;
                        let scene = Scene { node: &node, connection };
                        self.follow(socket, scene, &stop, &mut random).await;
                        true
                    }
                    None => false,
                }
            };
            if !followed || self.manners.wanders {
                turn = turn.wrapping_add(1);
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> Option<Socket> {
        // It watches by messages only: the session in the URL is one that nobody makes.
        let nobody = "00000000-0000-0000-0000-000000000000";
        let url = format!("ws://{address}/ws?sessionId={nobody}&since=0");
        let opened = async {
            let stream = TcpStream::connect(address).await.ok()?;
            let (socket, _) = client_async(url, stream).await.ok()?;
            Some(socket)
        };
        tokio::time::timeout(CONNECT_WITHIN, opened).await.ok().flatten()
    }

    async fn follow(
        &self,
        mut socket: Socket,
        scene: Scene<'_>,
        stop: &CancellationToken,
        random: &mut ChaCha8Rng,
    ) {
        self.write(scene, What::Open, None, Value::Null);
        let mut asked: BTreeSet<String> = BTreeSet::new();
        let cut_at = self
            .manners
            .cut_every
            .map(|every| Instant::now() + every.mul_f64(random.random_range(0.2..1.8)));
        let close = loop {
            let fresh: Vec<(String, Option<Point>)> = {
                let sessions = self.following.lock();
                sessions
                    .iter()
                    .filter(|(session, _)| !asked.contains(*session))
                    .map(|(session, point)| (session.clone(), *point))
                    .collect()
            };
            let mut broken = false;
            for (session, point) in fresh {
                let since = point.map_or(0, |point| point.version);
                let mut message =
                    json!({"type": "SUBSCRIBE", "sessionId": session, "since": since});
                if let Some(revision) = point.and_then(|point| point.revision) {
                    message["revision"] = json!(revision);
                }
                self.write(scene, What::Subscribe, Some((&session, since)), message.clone());
                broken |= socket.send(Message::text(message.to_string())).await.is_err();
                asked.insert(session);
            }
            if broken {
                break closed(ABNORMAL, "cannot send");
            }
            let deadline = cut_at.unwrap_or_else(|| Instant::now() + SILENCE_MAX);
            tokio::select! {
                message = socket.next() => {
                    match self.take(message, scene) {
                        Taken::Message => {}
                        // Its stream ended with it; another session may come under this id.
                        Taken::Deleted(session) => {
                            asked.remove(&session);
                        }
                        Taken::End(close) => break close,
                    }
                    if let Some(every) = self.manners.read_every {
                        tokio::time::sleep(every).await;
                    }
                }
                () = self.following.changed.notified() => {}
                () = tokio::time::sleep_until(deadline) => {
                    break closed(ABNORMAL, if cut_at.is_some() { "cut itself" } else { "silent" });
                }
                () = stop.cancelled() => break closed(ABNORMAL, "the test ended"),
            }
        };
        self.write(scene, What::Close, None, close);
    }

    fn take(
        &self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
        scene: Scene<'_>,
    ) -> Taken {
        match message {
            Some(Ok(Message::Text(text))) => {
                let value = serde_json::from_str(text.as_str());
                let value = value.unwrap_or_else(|_| json!({"garbled": text.as_str()}));
                self.note(&value);
                let deleted = value["type"] == "SESSION_DELETED";
                let session = value["sessionId"].as_str().filter(|_| deleted).map(str::to_owned);
                self.write(scene, What::Message, None, value);
                session.map_or(Taken::Message, Taken::Deleted)
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                let (code, reason) = frame.unwrap_or((1005, String::new()));
                Taken::End(closed(code, &reason))
            }
            Some(Ok(
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
            )) => Taken::Message,
            Some(Err(error)) => Taken::End(closed(ABNORMAL, &error.to_string())),
            None => Taken::End(closed(ABNORMAL, "ended")),
        }
    }

    /// Remembers where to go on after a cut.
    fn note(&self, message: &Value) {
        let Some(session) = message["sessionId"].as_str() else { return };
        let mut sessions = self.following.lock();
        let Some(point) = sessions.get_mut(session) else { return };
        match message["type"].as_str() {
            Some("STATE_UPDATE" | "STATE_SYNC") => {
                if let Some(version) = message["version"].as_u64() {
                    *point = Some(Point { version, revision: message["revision"].as_u64() });
                }
            }
            // What comes under this id from here on is another session.
            Some("SESSION_DELETED") => {
                *point = None;
            }
            Some(_) | None => {}
        }
    }

    fn write(&self, scene: Scene<'_>, what: What, about: Option<(&str, u64)>, value: Value) {
        self.recorder.frame(Frame {
            time: 0,
            subscriber: self.name.clone(),
            connection: scene.connection,
            node: scene.node.to_owned(),
            what,
            session: about.map(|(session, _)| session.to_owned()),
            since: about.map(|(_, since)| since),
            value,
        });
    }
}

/// What came over the socket.
enum Taken {
    Message,
    Deleted(String),
    End(Value),
}

#[derive(Clone, Copy)]
struct Scene<'a> {
    node: &'a str,
    connection: u64,
}

fn closed(code: u16, reason: &str) -> Value {
    json!({"code": code, "reason": reason})
}
