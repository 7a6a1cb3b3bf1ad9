//! The tracker in every order of messages, and whole subscriptions against scripted sockets.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use synckairos_protocol::{
    command::{Command, Stamped},
    event::Cause,
    machine::Machine,
    session::SyncMode,
    wire::ws::{ClientMessage, ServerMessage},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, timeout},
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use super::{
    tracker::{Then, Tracker},
    *,
};
use crate::{client::Config, requests::new_session};

const SESSION: SessionId = SessionId::from_bits(7);

/// The session created at `created`, at this version.
fn state(created: u64, version: u64) -> Box<SessionState> {
    let alice = ParticipantId::from_bits(1);
    let new = new_session(SESSION, SyncMode::Global, &[(alice, Millis::new(60_000))]);
    let mut machine = Machine::default();
    let command = Command::Create(Box::new(new));
    let stamped = Stamped { stamp: Stamp::from_unix_millis(created), command };
    machine.apply_one(&stamped, &mut Vec::new()).unwrap();
    let session = machine.session(SESSION).unwrap();
    Box::new(SessionState { version, ..SessionState::from(&**session) })
}

fn pushed(created: u64, version: u64, revision: u64) -> ServerMessage {
    ServerMessage::StateUpdate {
        session_id: SESSION,
        timestamp: Stamp::ZERO,
        state: state(created, version),
        version,
        revision,
        // What happened does not matter here.
        cause: CauseForm::deleted(Cause::Command),
        server_time: Stamp::ZERO,
    }
}

fn synced(created: u64, version: u64) -> ServerMessage {
    ServerMessage::StateSync {
        session_id: SESSION,
        timestamp: Stamp::ZERO,
        state: state(created, version),
        version,
        server_time: Stamp::ZERO,
    }
}

fn deleted(revision: u64) -> ServerMessage {
    ServerMessage::SessionDeleted {
        session_id: SESSION,
        timestamp: Stamp::ZERO,
        revision: Some(revision),
        cause: None,
        server_time: Stamp::ZERO,
    }
}

fn connected() -> ServerMessage {
    ServerMessage::Connected { session_id: SESSION.to_string(), timestamp: Stamp::ZERO }
}

fn not_found() -> ServerMessage {
    ServerMessage::Error {
        code: String::from("SESSION_NOT_FOUND"),
        message: format!("Session {SESSION} not found"),
    }
}

/// An event in a word or two.
fn word(event: FollowEvent) -> String {
    match event {
        FollowEvent::Connected { .. } => String::from("connected"),
        FollowEvent::Disconnected { .. } => String::from("disconnected"),
        FollowEvent::Absent => String::from("absent"),
        FollowEvent::Updated(update) => format!("v{}", update.version),
        FollowEvent::Gap { after, next } => format!("gap {after}-{next}"),
        FollowEvent::Warning { .. } => String::from("warning"),
        FollowEvent::Deleted { .. } => String::from("deleted"),
    }
}

#[test]
fn only_news_is_told() {
    let table: [(&str, Vec<ServerMessage>, &str); 9] = [
        ("in order", vec![synced(1, 3), pushed(1, 4, 9), pushed(1, 5, 10)], "v3 v4 v5"),
        ("twice", vec![pushed(1, 1, 9), synced(1, 1), pushed(1, 1, 9)], "v1"),
        ("the answer is late", vec![pushed(1, 3, 9), synced(1, 2)], "v3"),
        ("missed some", vec![synced(1, 3), pushed(1, 6, 12)], "v3 gap 3-6 v6"),
        ("before it was made", vec![not_found(), pushed(1, 1, 5)], "absent v1"),
        ("made while looked for", vec![pushed(1, 1, 5), not_found()], "v1"),
        ("deleted", vec![pushed(1, 1, 5), deleted(6)], "v1 deleted"),
        ("an old end", vec![pushed(50, 1, 5), deleted(4), pushed(50, 2, 6)], "v1 v2"),
        ("made anew", vec![synced(1, 7), synced(50, 1)], "v7 deleted"),
    ];
    for (case, messages, expected) in table {
        let mut tracker = Tracker::default();
        let steps = messages.into_iter().map(|message| tracker.take(message));
        let words: Vec<_> = steps.flat_map(|step| step.events).map(word).collect();
        assert_eq!(words.join(" "), expected, "{case}");
    }
}

#[test]
fn what_went_while_away_is_gone() {
    let mut tracker = Tracker::default();
    tracker.take(synced(1, 3));
    tracker.reconnected();
    let step = tracker.take(not_found());
    assert_eq!(step.then, Then::End);
    assert_eq!(step.events, [FollowEvent::Deleted { revision: None, cause: None }]);
}

#[test]
fn a_node_that_cannot_read_is_left() {
    let code = String::from("NO_LEADER");
    let message = String::from("no leader is known");
    let step = Tracker::default().take(ServerMessage::Error { code, message });
    assert_eq!(step.then, Then::Leave(String::from("NO_LEADER: no leader is known")));
}

struct Node {
    listener: TcpListener,
    url: String,
}

type ServerSocket = WebSocketStream<TcpStream>;

impl Node {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// The next follower, after it has asked for the state.
    async fn accept(&self) -> ServerSocket {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        say(&mut socket, connected()).await;
        let question = socket.next().await.unwrap().unwrap();
        let question = ClientMessage::parse(&question.into_data());
        assert_eq!(question, Some(ClientMessage::Reconnect));
        socket
    }
}

async fn say(socket: &mut ServerSocket, message: ServerMessage) {
    let text = serde_json::to_string(&message).unwrap();
    socket.send(Message::text(text)).await.unwrap();
}

/// Events until the one of this word, all in a line.
async fn until(subscription: &mut Subscription, last: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    while words.last().is_none_or(|word| word != last) {
        let event = timeout(Duration::from_secs(10), subscription.next()).await;
        words.push(word(event.expect("an event in time").expect("not the end")));
    }
    words.join(" ")
}

#[tokio::test]
async fn a_follower_goes_on_at_another_node_and_misses_no_outcome() {
    let (first, second) = (Node::start().await, Node::start().await);
    let client = Client::new(Config::new([first.url.clone(), second.url.clone()])).unwrap();
    let mut subscription = client.follow(SESSION);

    let mut socket = first.accept().await;
    say(&mut socket, synced(1, 3)).await;
    say(&mut socket, pushed(1, 4, 20)).await;
    assert_eq!(until(&mut subscription, "v4").await, "connected v3 v4");
    drop(socket);

    let mut socket = second.accept().await;
    say(&mut socket, pushed(1, 4, 20)).await;
    say(&mut socket, synced(1, 6)).await;
    say(&mut socket, pushed(1, 7, 23)).await;
    let heard = until(&mut subscription, "v7").await;
    assert_eq!(heard, "disconnected connected gap 4-6 v6 v7");

    say(&mut socket, deleted(24)).await;
    assert_eq!(until(&mut subscription, "deleted").await, "deleted");
    assert_eq!(subscription.next().await, None);
}

#[tokio::test]
async fn nonsense_and_dead_nodes_are_left_behind() {
    let (first, second) = (Node::start().await, Node::start().await);
    let nobody = crate::test_server::nobody().await;
    let urls = [nobody, first.url.clone(), second.url.clone()];
    let mut subscription = Client::new(Config::new(urls)).unwrap().follow(SESSION);

    let mut socket = first.accept().await;
    let text = json!({"type": "STATE_SYNC", "state": 3}).to_string();
    socket.send(Message::text(text)).await.unwrap();
    let mut socket = second.accept().await;
    say(&mut socket, not_found()).await;
    say(&mut socket, pushed(1, 1, 8)).await;
    assert_eq!(
        until(&mut subscription, "v1").await,
        "disconnected connected disconnected connected absent v1"
    );
}

#[tokio::test]
async fn dropping_the_subscription_closes_the_socket() {
    let node = Node::start().await;
    let client = Client::new(Config::new([node.url.clone()])).unwrap();
    let subscription = client.follow(SESSION);
    let mut socket = node.accept().await;
    drop(subscription);
    let end = timeout(Duration::from_secs(10), socket.next()).await.expect("an end in time");
    assert!(matches!(end, None | Some(Err(_))));
}
