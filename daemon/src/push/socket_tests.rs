//! Conversations over a pair of queues instead of a network.

use std::{
    sync::Mutex,
    task::{Poll, ready},
};

use serde_json::Value;
use synckairos_protocol::{
    command::{Command, CommandBatch, Stamped},
    event::{Answer, Change},
    machine::Machine,
    time::Stamp,
};
use synckairos_raft_store::AppliedEvent;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::*;
use crate::{push::hub::tests::create, telemetry::metrics::Metrics};

const PATIENCE: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_secs(3_600);
const SESSION: &str = "123e4567-e89b-12d3-a456-426614174000";

struct FakeSocket {
    from_client: mpsc::Receiver<Message>,
    to_client: PollSender<Message>,
}

impl Stream for FakeSocket {
    type Item = Result<Message, axum::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        let message = ready!(self.from_client.poll_recv(context));
        Poll::Ready(message.map(Ok))
    }
}

impl Sink<Message> for FakeSocket {
    type Error = axum::Error;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Result<(), axum::Error>> {
        self.to_client.poll_reserve(context).map_err(axum::Error::new)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), axum::Error> {
        self.to_client.send_item(message).map_err(axum::Error::new)
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }
}

/// A client, and the node that it talks to.
struct Stage {
    client: mpsc::Sender<Message>,
    heard: mpsc::Receiver<Message>,
    applied: mpsc::Sender<AppliedEvent>,
    sessions: Arc<Mutex<Machine>>,
    stopping: CancellationToken,
    revision: u64,
    /// The node's own handle: the hub outlives every conversation.
    _hub: Hub,
}

fn session() -> SessionId {
    SESSION.parse().unwrap()
}

/// A conversation whose client reads `room` messages ahead of what it is asked for.
fn start(watch: Watch, heartbeat: Duration, room: usize) -> Stage {
    let (client, from_client) = mpsc::channel(8);
    let (to_client, heard) = mpsc::channel(room);
    let (applied, receiver) = mpsc::channel(8);
    let clock: Now = Arc::new(|| Stamp::from_unix_millis(77));
    let (hub, task) = Hub::new(receiver, Arc::clone(&clock), Metrics::new());
    tokio::spawn(task);
    let sessions = Arc::new(Mutex::new(Machine::default()));
    let readable = Arc::clone(&sessions);
    let stopping = CancellationToken::new();
    let context = Context {
        hub: hub.clone(),
        read: Arc::new(move |id| {
            let session = readable.lock().unwrap().session(id).cloned();
            Box::pin(async move { Ok(session) })
        }),
        clock,
        stopping: stopping.clone(),
        timing: Timing { heartbeat, send: NEVER, close: PATIENCE },
    };
    let socket = FakeSocket { from_client, to_client: PollSender::new(to_client) };
    tokio::spawn(run(socket, watch, context));
    Stage { client, heard, applied, sessions, stopping, revision: 0, _hub: hub }
}

fn watching() -> Stage {
    start(Watch::Session { session: session(), snapshot: false }, NEVER, 8)
}

impl Stage {
    async fn next(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.heard.recv()).await.unwrap()
    }

    async fn text(&mut self) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => serde_json::from_str(text.as_str()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The next message's type.
    async fn word(&mut self) -> String {
        self.text().await["type"].as_str().unwrap().to_owned()
    }

    async fn close(&mut self) -> (u16, String) {
        match self.next().await {
            Some(Message::Close(Some(frame))) => (frame.code, frame.reason.as_str().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    async fn say(&self, text: &'static str) {
        self.client.send(Message::text(text)).await.unwrap();
    }

    async fn commit(&mut self, command: Command) {
        let changes = self.apply(command);
        self.revision += 1;
        let event = AppliedEvent::Entry { revision: self.revision, changes };
        self.applied.send(event).await.unwrap();
    }

    /// Changes the state without a word to the hub.
    fn apply(&self, command: Command) -> Vec<Change> {
        let stamp = Stamp::from_unix_millis(1_000);
        let batch = CommandBatch { commands: vec![Stamped { stamp, command }] };
        let outcome = self.sessions.lock().unwrap().apply(&batch);
        assert!(matches!(outcome.answers[..], [Ok(Answer::Session(_) | Answer::Deleted)]));
        outcome.changes
    }
}

#[tokio::test]
async fn a_bad_id_is_told_on_the_open_socket() {
    let table = [
        (Watch::MissingId, "Missing sessionId parameter"),
        (Watch::MalformedId, "Invalid sessionId format"),
    ];
    for (watch, reason) in table {
        let mut stage = start(watch, NEVER, 8);
        assert_eq!(stage.close().await, (1008, reason.to_owned()));
    }
}

#[tokio::test]
async fn a_watcher_hears_of_creation_and_deletion() {
    let mut stage = watching();
    let connected = stage.text().await;
    assert_eq!(connected["type"], "CONNECTED");
    assert_eq!(connected["sessionId"], SESSION);
    assert_eq!(connected["timestamp"], 77);

    stage.commit(create()).await;
    let update = stage.text().await;
    assert_eq!((&update["type"], &update["version"]), (&"STATE_UPDATE".into(), &1.into()));

    stage.commit(Command::Delete { session: session() }).await;
    assert_eq!(stage.word().await, "SESSION_DELETED");
    assert_eq!(stage.close().await, (1000, "Session deleted".to_owned()));
}

#[tokio::test]
async fn only_what_is_asked_for_is_answered() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    for nonsense in ["", "null", "{}", "[]", r#"{"type":"SUBSCRIBE"}"#, "PING"] {
        stage.say(nonsense).await;
    }
    stage.say(r#"{"type":"PING"}"#).await;
    assert_eq!(stage.word().await, "PONG");
    stage.client.send(Message::binary(r#"{"type":"PING"}"#)).await.unwrap();
    assert_eq!(stage.word().await, "PONG");

    stage.say(r#"{"type":"RECONNECT"}"#).await;
    let error = stage.text().await;
    assert_eq!(error["code"], "SESSION_NOT_FOUND");
    assert_eq!(error["message"], format!("Session {SESSION} not found"));

    stage.apply(create());
    stage.say(r#"{"type":"RECONNECT"}"#).await;
    let sync = stage.text().await;
    assert_eq!(sync["type"], "STATE_SYNC");
    assert_eq!(sync["state"]["version"], 1);
}

#[tokio::test]
async fn what_a_sync_told_is_not_told_again() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    let changes = stage.apply(create());
    stage.say(r#"{"type":"RECONNECT"}"#).await;
    assert_eq!(stage.word().await, "STATE_SYNC");
    stage.applied.send(AppliedEvent::Entry { revision: 1, changes }).await.unwrap();
    stage.commit(Command::Delete { session: session() }).await;
    assert_eq!(stage.word().await, "SESSION_DELETED");
}

#[tokio::test]
async fn a_snapshot_is_sent_where_it_is_asked_for() {
    let watch = Watch::Session { session: session(), snapshot: true };
    let mut stage = start(watch, NEVER, 8);
    assert_eq!(stage.word().await, "CONNECTED");
    assert_eq!(stage.word().await, "ERROR");
}

#[tokio::test]
async fn a_jump_of_the_state_is_followed_by_the_whole_state() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    stage.apply(create());
    stage.applied.send(AppliedEvent::Installed { revision: 5 }).await.unwrap();
    assert_eq!(stage.word().await, "STATE_SYNC");
    stage.apply(Command::Delete { session: session() });
    stage.applied.send(AppliedEvent::Installed { revision: 9 }).await.unwrap();
    assert_eq!(stage.word().await, "SESSION_DELETED");
    assert_eq!(stage.close().await.0, 1000);
}

#[tokio::test]
async fn a_stopping_node_says_so() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    stage.stopping.cancel();
    assert_eq!(stage.close().await, (1001, "Server shutting down".to_owned()));
}

#[tokio::test]
async fn who_answers_no_ping_is_dropped_without_a_word() {
    let watch = Watch::Session { session: session(), snapshot: false };
    let mut stage = start(watch, Duration::from_millis(400), 8);
    assert_eq!(stage.word().await, "CONNECTED");
    for _ in 0..2 {
        assert_eq!(stage.next().await, Some(Message::Ping(Bytes::new())));
        stage.client.send(Message::Pong(Bytes::new())).await.unwrap();
    }
    while let Some(message) = stage.next().await {
        assert_eq!(message, Message::Ping(Bytes::new()));
    }
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_closed_with_4008() {
    let watch = Watch::Session { session: session(), snapshot: false };
    let mut stage = start(watch, NEVER, 1);
    assert_eq!(stage.word().await, "CONNECTED");
    stage.commit(create()).await;
    let room = u64::try_from(crate::push::hub::QUEUE_MAX).unwrap() + 40;
    for version in 1..=room {
        let expected = synckairos_protocol::command::Expected::Exactly(version);
        stage.commit(Command::Complete { session: session(), expected }).await;
    }
    let mut last = stage.next().await;
    while let Some(Message::Text(_)) = last {
        last = stage.next().await;
    }
    let Some(Message::Close(Some(frame))) = last else { panic!("{last:?}") };
    assert_eq!((frame.code, frame.reason.as_str()), (4008, "slow consumer"));
}
