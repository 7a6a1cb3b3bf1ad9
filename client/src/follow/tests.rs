//! The tracker in every order of messages, and whole subscriptions against scripted sockets.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use synckairos_protocol::{
    command::{Command, Stamped},
    event::Cause,
    machine::Machine,
    session::SyncMode,
    wire::{
        rest::{MemberAnswer, NodesAnswer},
        ws::{ClientMessage, ServerMessage},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};

use super::{
    tracker::{Point, Then, Tracker},
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
        revision: None,
        resumed: None,
        server_time: Stamp::ZERO,
    }
}

/// A state in answer to a resume whose node does not keep what is missing.
fn not_resumed(created: u64, version: u64, revision: u64) -> ServerMessage {
    ServerMessage::StateSync {
        session_id: SESSION,
        timestamp: Stamp::ZERO,
        state: state(created, version),
        version,
        revision: Some(revision),
        resumed: Some(false),
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

fn connected(resuming: Option<bool>) -> ServerMessage {
    ServerMessage::Connected { session_id: SESSION.to_string(), timestamp: Stamp::ZERO, resuming }
}

fn not_found() -> ServerMessage {
    ServerMessage::Error {
        code: String::from("SESSION_NOT_FOUND"),
        message: format!("Session {SESSION} not found"),
        session_id: None,
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
    let step = Tracker::default().take(ServerMessage::Error { code, message, session_id: None });
    assert_eq!(step.then, Then::Leave(String::from("NO_LEADER: no leader is known")));
    let stale = Tracker::default().take(ServerMessage::Stale { since: Stamp::ZERO });
    assert!(matches!(stale.then, Then::Leave(_)), "{stale:?}");
}

#[test]
fn the_next_node_goes_on_after_the_last_version() {
    let at = |version, revision| Some(Point { version, revision });
    let table = [
        (vec![not_found()], None),
        (vec![synced(1, 3)], at(3, None)),
        (vec![synced(1, 3), pushed(1, 3, 9)], at(3, Some(9))),
        (vec![pushed(1, 3, 9), synced(1, 4)], at(4, None)),
        (vec![pushed(1, 3, 9), pushed(1, 4, 9)], at(4, Some(9))),
        (vec![not_resumed(1, 8, 20)], at(8, Some(20))),
    ];
    for (messages, point) in table {
        let mut tracker = Tracker::default();
        for message in messages {
            tracker.take(message);
        }
        assert_eq!(tracker.point(), point);
        tracker.reconnected();
        let resumes = tracker.take(connected(Some(true))).then;
        assert_eq!(resumes, Then::Connected);
        let silent = tracker.take(connected(None)).then;
        let expected = if point.is_some() { Then::AskForState } else { Then::Connected };
        assert_eq!(silent, expected, "a node of an earlier release");
    }
}

/// One that sends nothing but what followers send.
fn client(urls: impl IntoIterator<Item = String>) -> Client {
    Client::new(Config { discover: false, ..Config::new(urls) }).unwrap()
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

    /// The next follower, and what its URL asks for.
    #[allow(clippy::result_large_err, reason = "the type is the library's")]
    async fn accept(&self) -> (ServerSocket, String) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut query = String::new();
        let mut socket = accept_hdr_async(stream, |request: &Request, response: Response| {
            query = request.uri().query().unwrap_or_default().to_owned();
            Ok(response)
        })
        .await
        .unwrap();
        let resuming = query.contains("since=").then_some(true);
        say(&mut socket, connected(resuming)).await;
        let asked = query.split_once('&').unwrap().1.to_owned();
        (socket, asked)
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
async fn a_follower_goes_on_at_another_node_and_misses_nothing() {
    let (first, second) = (Node::start().await, Node::start().await);
    let client = client([first.url.clone(), second.url.clone()]);
    let mut subscription = client.follow(SESSION);

    let (mut socket, asked) = first.accept().await;
    assert_eq!(asked, "snapshot=true");
    say(&mut socket, synced(1, 3)).await;
    say(&mut socket, pushed(1, 4, 20)).await;
    assert_eq!(until(&mut subscription, "v4").await, "connected v3 v4");
    drop(socket);

    let (mut socket, asked) = second.accept().await;
    assert_eq!(asked, "since=4&revision=20");
    say(&mut socket, pushed(1, 5, 21)).await;
    say(&mut socket, pushed(1, 6, 22)).await;
    assert_eq!(until(&mut subscription, "v6").await, "disconnected connected v5 v6");
    say(&mut socket, ServerMessage::Stale { since: Stamp::ZERO }).await;

    let (mut socket, asked) = first.accept().await;
    assert_eq!(asked, "since=6&revision=22");
    say(&mut socket, not_resumed(1, 9, 30)).await;
    say(&mut socket, pushed(1, 10, 31)).await;
    let heard = until(&mut subscription, "v10").await;
    assert_eq!(heard, "disconnected connected gap 6-9 v9 v10");

    say(&mut socket, deleted(32)).await;
    assert_eq!(until(&mut subscription, "deleted").await, "deleted");
    assert_eq!(subscription.next().await, None);
}

#[tokio::test]
async fn a_node_of_an_earlier_release_is_asked_for_the_state() {
    let node = Node::start().await;
    let mut subscription = client([node.url.clone()]).follow(SESSION);
    let (mut socket, _) = node.accept().await;
    say(&mut socket, synced(1, 3)).await;
    assert_eq!(until(&mut subscription, "v3").await, "connected v3");
    drop(socket);

    let (stream, _) = node.listener.accept().await.unwrap();
    let mut socket = accept_async(stream).await.unwrap();
    say(&mut socket, connected(None)).await;
    let question = socket.next().await.unwrap().unwrap();
    assert_eq!(ClientMessage::parse(&question.into_data()), Ok(ClientMessage::Reconnect));
    say(&mut socket, synced(1, 5)).await;
    assert_eq!(until(&mut subscription, "v5").await, "disconnected connected gap 3-5 v5");
}

#[tokio::test]
async fn nonsense_and_dead_nodes_are_left_behind() {
    let (first, second) = (Node::start().await, Node::start().await);
    let nobody = crate::test_server::nobody().await;
    let urls = [nobody, first.url.clone(), second.url.clone()];
    let mut subscription = client(urls).follow(SESSION);

    let (mut socket, _) = first.accept().await;
    let text = json!({"type": "STATE_SYNC", "state": 3}).to_string();
    socket.send(Message::text(text)).await.unwrap();
    let (mut socket, _) = second.accept().await;
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
    let client = client([node.url.clone()]);
    let subscription = client.follow(SESSION);
    let (mut socket, _) = node.accept().await;
    drop(subscription);
    let end = timeout(Duration::from_secs(10), socket.next()).await.expect("an end in time");
    assert!(matches!(end, None | Some(Err(_))));
}

#[tokio::test]
async fn a_follower_goes_on_at_a_node_that_it_learned_of() {
    let (seed, member) = (Node::start().await, Node::start().await);
    let client = client([seed.url.clone()]);
    let mut subscription = client.follow(SESSION);
    let (mut socket, _) = seed.accept().await;
    say(&mut socket, synced(1, 3)).await;
    assert_eq!(until(&mut subscription, "v3").await, "connected v3");

    let http = member.url.trim_start_matches("http://").to_owned();
    let answer = NodesAnswer {
        cluster_id: String::from("ours"),
        nodes: vec![MemberAnswer { id: 4, http, voter: true }],
        leader: None,
        membership_revision: 9,
    };
    let nodes = &client.inner().nodes;
    nodes.hear(&nodes.preferred(), &answer);
    nodes.answered(&member.url.as_str().into());
    drop((socket, seed));
    let (mut socket, asked) = member.accept().await;
    assert_eq!(asked, "since=3");
    say(&mut socket, pushed(1, 4, 20)).await;
    assert_eq!(until(&mut subscription, "v4").await, "disconnected connected v4");
}
