//! Conversations over a pair of queues instead of a network.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Poll, ready},
};

use serde_json::Value;
use synckairos_protocol::{
    command::{Command, CommandBatch, Stamped},
    event::{Answer, Change},
    machine::Machine,
    time::Stamp,
};
use synckairos_raft_store::{AppliedEvent, StoredUpdate};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::PollSender;

use super::*;
use crate::{
    push::{
        Hub, Past, Replays,
        hub::{Now, tests::create},
    },
    sessions::refusal::Refusal,
    telemetry::metrics::Metrics,
};

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

/// What the node has applied, and what it would read from disk.
#[derive(Default)]
struct Applied {
    machine: Machine,
    history: Vec<StoredUpdate>,
    revision: u64,
    /// No majority can be asked.
    cut_off: bool,
}

impl Applied {
    fn past(&self, id: SessionId, after: Option<Point>) -> Past {
        let session = self.machine.session(id).cloned();
        let kept = self.history.iter().filter(|update| update.session.id == id);
        let last = kept.clone().next_back().map(|update| update.revision);
        let updates = after.and_then(|point| {
            let kept: Vec<StoredUpdate> = kept.cloned().collect();
            let known = |update: &StoredUpdate| {
                update.session.version == point.version
                    && point.revision.is_none_or(|revision| revision == update.revision)
            };
            let position = kept.iter().position(known).map(|position| position + 1);
            let first = kept.first().filter(|first| first.session.version == point.version + 1);
            position.or(first.map(|_| 0)).map(|from| kept[from..].to_vec())
        });
        Past { updates, session, revision: last }
    }
}

/// A client, and the node that it talks to.
struct Stage {
    client: mpsc::Sender<Message>,
    heard: mpsc::Receiver<Message>,
    events: mpsc::Sender<AppliedEvent>,
    applied: Arc<Mutex<Applied>>,
    stopping: CancellationToken,
    stale: watch::Sender<Option<Stamp>>,
    /// The node's own handle: the hub outlives every conversation.
    context: Context,
}

fn session() -> SessionId {
    SESSION.parse().unwrap()
}

/// A conversation whose client reads `room` messages ahead of what it is asked for.
fn start(watch: Watch, heartbeat: Duration, room: usize) -> Stage {
    let mut stage = idle(heartbeat);
    stage.connect(watch, room);
    stage
}

/// A node that nobody has called yet.
fn idle(heartbeat: Duration) -> Stage {
    let (events, receiver) = mpsc::channel(8);
    let clock: Now = Arc::new(|| Stamp::from_unix_millis(77));
    let (hub, task) = Hub::new(receiver, Arc::clone(&clock), Metrics::new());
    tokio::spawn(task);
    let applied = Arc::new(Mutex::new(Applied::default()));
    let (readable, lookable) = (Arc::clone(&applied), Arc::clone(&applied));
    let (stale, staleness) = watch::channel(None);
    let source = Source {
        hub,
        read: Arc::new(move |id| {
            let applied = readable.lock().unwrap();
            let session = applied.machine.session(id).cloned();
            let read = if applied.cut_off { Err(Refusal::NoLeader) } else { Ok(session) };
            Box::pin(async move { read })
        }),
        past: Arc::new(move |id, after| {
            let past = lookable.lock().unwrap().past(id, after);
            Box::pin(async move { past })
        }),
        clock,
        replays: Replays::default(),
    };
    let stopping = CancellationToken::new();
    let timing = Timing { heartbeat, send: NEVER, close: PATIENCE };
    let context = Context {
        source,
        staleness,
        membership: Arc::new(|| 31),
        stopping: stopping.clone(),
        timing,
        subscriptions_max: 2,
    };
    let (client, heard) = (mpsc::channel(1).0, mpsc::channel(1).1);
    Stage { client, heard, events, applied, stopping, stale, context }
}

fn begin_with(begin: Begin) -> Watch {
    Watch::Session { session: session(), begin }
}

fn after(version: u64, revision: Option<u64>) -> Watch {
    let after = Some(Point { version, revision });
    begin_with(Begin { after, snapshot: false })
}

fn watching() -> Stage {
    start(begin_with(LIVE), NEVER, 8)
}

fn other() -> SessionId {
    SessionId::from_bits(9)
}

fn create_other() -> Command {
    let Command::Create(mut new) = create() else { panic!("it creates") };
    new.id = other();
    Command::Create(new)
}

fn complete(id: SessionId, version: u64) -> Command {
    let expected = synckairos_protocol::command::Expected::Exactly(version);
    Command::Complete { session: id, expected }
}

impl Stage {
    /// Another conversation, after the one before it.
    fn connect(&mut self, watch: Watch, room: usize) {
        let (client, from_client) = mpsc::channel(8);
        let (to_client, heard) = mpsc::channel(room);
        let socket = FakeSocket { from_client, to_client: PollSender::new(to_client) };
        tokio::spawn(run(socket, watch, self.context.clone()));
        (self.client, self.heard) = (client, heard);
    }

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

    async fn say(&self, text: impl Into<String>) {
        self.client.send(Message::text(text.into())).await.unwrap();
    }

    /// Says a message about a session.
    async fn ask(&self, word: &str, id: SessionId, fields: &str) {
        self.say(format!(r#"{{"type":"{word}","sessionId":"{id}"{fields}}}"#)).await;
    }

    /// The next message: its type, its session and its version.
    async fn told(&mut self) -> String {
        let message = self.text().await;
        let id = if message["sessionId"] == SESSION { "main" } else { "other" };
        let word = message["type"].as_str().unwrap();
        match message["version"].as_u64() {
            Some(version) => format!("{word} {id} {version}"),
            None => format!("{word} {id}"),
        }
    }

    async fn commit(&self, command: Command) {
        let event = self.apply(command);
        self.events.send(event).await.unwrap();
    }

    /// Changes the state without a word to the hub.
    fn apply(&self, command: Command) -> AppliedEvent {
        let stamp = Stamp::from_unix_millis(1_000);
        let batch = CommandBatch { commands: vec![Stamped { stamp, command }] };
        let mut applied = self.applied.lock().unwrap();
        applied.revision += 1;
        let revision = applied.revision;
        let outcome = applied.machine.apply(&batch);
        assert!(matches!(outcome.answers[..], [Ok(Answer::Session(_) | Answer::Deleted)]));
        for change in &outcome.changes {
            match change {
                Change::Updated { session, event, cause } => applied.history.push(StoredUpdate {
                    revision,
                    event: event.clone(),
                    cause: *cause,
                    session: Arc::clone(session),
                }),
                Change::Deleted { session, .. } => {
                    applied.history.retain(|update| update.session.id != *session);
                }
                Change::Warned { .. } => {}
            }
        }
        AppliedEvent::Entry { revision, changes: outcome.changes }
    }
}

#[tokio::test]
async fn a_bad_id_is_told_on_the_open_socket() {
    let table = [
        (Watch::MissingId, "Missing sessionId parameter"),
        (Watch::MalformedId, "Invalid sessionId format"),
        (Watch::MalformedSince, "Invalid since or revision parameter"),
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
    for nonsense in ["", "null", "{}", "[]", r#"{"type":"SUBSCRIPTION"}"#, "PING"] {
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
    let event = stage.apply(create());
    stage.say(r#"{"type":"RECONNECT"}"#).await;
    assert_eq!(stage.word().await, "STATE_SYNC");
    stage.events.send(event).await.unwrap();
    stage.commit(Command::Delete { session: session() }).await;
    assert_eq!(stage.word().await, "SESSION_DELETED");
}

#[tokio::test]
async fn a_snapshot_is_sent_where_it_is_asked_for() {
    let watch = begin_with(Begin { after: None, snapshot: true });
    let mut stage = start(watch.clone(), NEVER, 8);
    assert_eq!(stage.word().await, "CONNECTED");
    let error = stage.text().await;
    assert_eq!(error["code"], "SESSION_NOT_FOUND");
    assert_eq!(error.as_object().unwrap().len(), 3, "{error}");
    stage.commit(create()).await;
    assert_eq!(stage.word().await, "STATE_UPDATE");

    stage.connect(watch, 8);
    assert_eq!(stage.word().await, "CONNECTED");
    let sync = stage.text().await;
    assert_eq!((&sync["version"], &sync["revision"]), (&1.into(), &1.into()));
    assert_eq!(sync["resumed"], Value::Null);
}

#[tokio::test]
async fn a_jump_of_the_state_is_followed_by_the_whole_state() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    stage.apply(create());
    stage.events.send(AppliedEvent::Installed { revision: 5 }).await.unwrap();
    assert_eq!(stage.word().await, "STATE_SYNC");
    stage.apply(Command::Delete { session: session() });
    stage.events.send(AppliedEvent::Installed { revision: 9 }).await.unwrap();
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
    let mut stage = start(begin_with(LIVE), Duration::from_millis(400), 8);
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
async fn pings_tell_the_membership_to_whoever_asked_for_more_than_v2_has() {
    let snapshot = Begin { after: None, snapshot: true };
    let mut stage = start(begin_with(snapshot), Duration::from_millis(400), 8);
    assert_eq!(stage.word().await, "CONNECTED");
    loop {
        match stage.next().await {
            Some(Message::Ping(payload)) => return assert_eq!(payload, "31"),
            Some(_) => {}
            None => panic!("the socket ended without a ping"),
        }
    }
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_closed_with_4008() {
    let mut stage = start(begin_with(LIVE), NEVER, 1);
    assert_eq!(stage.word().await, "CONNECTED");
    stage.commit(create()).await;
    let room = u64::try_from(crate::push::hub::QUEUE_MAX).unwrap() + 40;
    for version in 1..=room {
        stage.commit(complete(session(), version)).await;
    }
    let mut last = stage.next().await;
    while let Some(Message::Text(_)) = last {
        last = stage.next().await;
    }
    let Some(Message::Close(Some(frame))) = last else { panic!("{last:?}") };
    assert_eq!((frame.code, frame.reason.as_str()), (4008, "slow consumer"));
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_it_missed_and_then_the_rest() {
    let mut stage = idle(NEVER);
    stage.commit(create()).await;
    for version in 1..=3 {
        stage.commit(complete(session(), version)).await;
    }
    let table: [(Watch, &[u64]); 5] = [
        (after(0, None), &[1, 2, 3, 4]),
        (after(2, None), &[3, 4]),
        (after(2, Some(2)), &[3, 4]),
        (after(4, Some(4)), &[]),
        (
            begin_with(Begin { after: Some(Point { version: 3, revision: None }), snapshot: true }),
            &[4],
        ),
    ];
    for (watch, versions) in table {
        let wants_state = matches!(&watch, Watch::Session { begin, .. } if begin.snapshot);
        stage.connect(watch, 8);
        let connected = stage.text().await;
        assert_eq!(connected["resuming"], true);
        for version in versions {
            assert_eq!(stage.told().await, format!("STATE_UPDATE main {version}"));
        }
        if wants_state {
            let sync = stage.text().await;
            assert_eq!((&sync["resumed"], &sync["version"]), (&true.into(), &4.into()));
        }
        stage.say(r#"{"type":"PING"}"#).await;
        assert_eq!(stage.word().await, "PONG");
    }
    stage.commit(complete(session(), 4)).await;
    assert_eq!(stage.told().await, "STATE_UPDATE main 5");
}

#[tokio::test]
async fn what_is_not_kept_is_told_as_a_state_that_was_not_resumed() {
    let mut stage = idle(NEVER);
    stage.commit(create()).await;
    for version in 1..=3 {
        stage.commit(complete(session(), version)).await;
    }
    stage.applied.lock().unwrap().history.drain(..2);
    for (watch, case) in [
        (after(1, None), "too old"),
        (after(9, None), "in the future"),
        (after(4, Some(77)), "another session of this id"),
    ] {
        stage.connect(watch, 8);
        assert_eq!(stage.word().await, "CONNECTED");
        let sync = stage.text().await;
        assert_eq!(sync["type"], "STATE_SYNC", "{case}");
        assert_eq!((&sync["resumed"], &sync["version"]), (&false.into(), &4.into()), "{case}");
        assert_eq!(sync["revision"], 4, "{case}");
    }
    stage.commit(complete(session(), 4)).await;
    assert_eq!(stage.told().await, "STATE_UPDATE main 5");
}

#[tokio::test]
async fn live_pushes_of_what_was_replayed_are_told_once() {
    let mut stage = idle(NEVER);
    stage.commit(create()).await;
    let late = stage.apply(complete(session(), 1));
    stage.connect(after(1, Some(1)), 8);
    assert_eq!(stage.word().await, "CONNECTED");
    assert_eq!(stage.told().await, "STATE_UPDATE main 2");
    stage.events.send(late).await.unwrap();
    stage.commit(complete(session(), 2)).await;
    assert_eq!(stage.told().await, "STATE_UPDATE main 3");
}

#[tokio::test]
async fn whoever_comes_back_to_a_session_that_is_gone_is_told_so() {
    let mut stage = idle(NEVER);
    stage.connect(after(3, None), 8);
    assert_eq!(stage.word().await, "CONNECTED");
    assert_eq!(stage.told().await, "SESSION_DELETED main");
    assert_eq!(stage.close().await, (1000, "Session deleted".to_owned()));

    stage.connect(after(0, None), 8);
    assert_eq!(stage.word().await, "CONNECTED");
    stage.commit(create()).await;
    assert_eq!(stage.told().await, "STATE_UPDATE main 1");
}

#[tokio::test]
async fn a_node_that_cannot_ask_a_majority_sends_its_clients_elsewhere() {
    let mut stage = idle(NEVER);
    stage.applied.lock().unwrap().cut_off = true;
    stage.connect(after(3, None), 8);
    assert_eq!(stage.word().await, "CONNECTED");
    assert_eq!(stage.text().await["code"], "NO_LEADER");
    assert_eq!(stage.close().await.0, 1013);
}

#[tokio::test]
async fn one_socket_watches_several_sessions() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    stage.ask("SUBSCRIBE", other(), "").await;
    assert_eq!(stage.told().await, "SUBSCRIBED other");
    stage.commit(create_other()).await;
    stage.commit(create()).await;
    assert_eq!(stage.told().await, "STATE_UPDATE other 1");
    assert_eq!(stage.told().await, "STATE_UPDATE main 1");

    stage.ask("SUBSCRIBE", SessionId::from_bits(10), "").await;
    let full = stage.text().await;
    assert_eq!((&full["type"], &full["code"]), (&"ERROR".into(), &"CAPACITY_EXCEEDED".into()));
    assert_eq!(full["sessionId"], SessionId::from_bits(10).to_string());

    // The end of one is not the end of the socket, and makes room for another.
    stage.commit(Command::Delete { session: session() }).await;
    assert_eq!(stage.told().await, "SESSION_DELETED main");
    stage.ask("SUBSCRIBE", SessionId::from_bits(10), "").await;
    assert_eq!(stage.told().await, "SUBSCRIBED other");
    stage.ask("UNSUBSCRIBE", other(), "").await;
    assert_eq!(stage.told().await, "UNSUBSCRIBED other");
    stage.commit(complete(other(), 1)).await;
    stage.commit(complete(other(), 2)).await;

    stage.ask("SUBSCRIBE", other(), r#","since":1"#).await;
    assert_eq!(stage.told().await, "SUBSCRIBED other");
    assert_eq!(stage.told().await, "STATE_UPDATE other 2");
    assert_eq!(stage.told().await, "STATE_UPDATE other 3");
    stage.ask("RESUME", other(), r#","version":2"#).await;
    assert_eq!(stage.told().await, "STATE_UPDATE other 3");
    stage.ask("RESUME", other(), "").await;
    assert_eq!(stage.text().await["code"], "VALIDATION_ERROR");
    stage.ask("SUBSCRIBE", other(), r#","snapshot":true"#).await;
    assert_eq!(stage.told().await, "SUBSCRIBED other");
    assert_eq!(stage.told().await, "STATE_SYNC other 3");
}

#[tokio::test]
async fn after_a_jump_what_was_missed_is_replayed_where_it_is_kept() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    stage.commit(create()).await;
    assert_eq!(stage.told().await, "STATE_UPDATE main 1");
    stage.apply(complete(session(), 1));
    stage.apply(complete(session(), 2));
    stage.events.send(AppliedEvent::Installed { revision: 3 }).await.unwrap();
    assert_eq!(stage.told().await, "STATE_UPDATE main 2");
    assert_eq!(stage.told().await, "STATE_UPDATE main 3");
}

#[tokio::test]
async fn a_node_out_of_touch_says_since_when_and_lets_go() {
    let mut stage = watching();
    assert_eq!(stage.word().await, "CONNECTED");
    stage.stale.send_replace(Some(Stamp::from_unix_millis(5)));
    for _ in 0..2 {
        let stale = stage.text().await;
        assert_eq!((&stale["type"], &stale["since_ms"]), (&"STALE".into(), &5.into()));
        assert_eq!(stage.close().await.0, 4013);
        // Whoever comes now is told the same.
        stage.connect(after(3, None), 8);
    }
}
