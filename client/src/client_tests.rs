//! Requests against scripted nodes: who is asked, how often, and what is known afterwards.

use synckairos_protocol::{
    error::Kind,
    ids::ParticipantId,
    session::SyncMode,
    time::{Millis, Stamp},
    wire::problem::Problem,
};

use super::*;
use crate::{
    error::ErrorKind,
    requests::new_session,
    test_server::{Reply, TestServer, nobody},
};

const SESSION: SessionId = SessionId::from_bits(0);

/// One that asks nobody but these, and only what the test asks.
fn client(urls: impl IntoIterator<Item = String>) -> Client {
    let quick = Duration::from_millis(300);
    let config = Config { attempt_timeout: quick, discover: false, ..Config::new(urls) };
    Client::new(Config { deadline: Duration::from_secs(3), ..config }).unwrap()
}

/// One that sends what changes something without a key.
fn keyless(urls: impl IntoIterator<Item = String>) -> Client {
    let keyed = client(urls);
    let config = Config { idempotency_keys: false, ..keyed.inner.config.clone() };
    Client::new(config).unwrap()
}

fn state() -> SessionState {
    let alice = ParticipantId::from_bits(1);
    let new = new_session(SESSION, SyncMode::PerParticipant, &[(alice, Millis::new(60_000))]);
    let mut machine = synckairos_protocol::machine::Machine::default();
    let stamp = Stamp::from_unix_millis(1_000);
    let command = synckairos_protocol::command::Command::Create(Box::new(new));
    let stamped = synckairos_protocol::command::Stamped { stamp, command };
    machine.apply_one(&stamped, &mut Vec::new()).unwrap();
    SessionState::from(&**machine.session(SESSION).unwrap())
}

fn success() -> Reply {
    Reply::Answer(200, serde_json::to_string(&Envelope { data: state() }).unwrap())
}

fn refusal(kind: Kind) -> Reply {
    let body = serde_json::to_string(&Problem::new(kind, "because")).unwrap();
    Reply::Answer(kind.meaning().status, body)
}

#[tokio::test]
async fn a_dead_node_is_left_and_the_living_one_remembered() {
    let living = TestServer::start(|_, _| success()).await;
    let client = client([nobody().await, living.url.clone()]);
    assert_eq!(client.pause(SESSION, Some(4)).await.unwrap(), state());
    assert_eq!(*client.inner.nodes.preferred(), *living.url);
    client.get(SESSION).await.unwrap();
    let path = format!("/v1/sessions/{SESSION}");
    assert_eq!(
        living.seen(),
        [format!("POST {path}/pause {{\"expected_version\":4}}"), format!("GET {path}")]
    );
}

#[tokio::test]
async fn nobody_there_is_known_to_have_no_effect() {
    let config = Config { attempts_max: 5, ..Config::new([nobody().await, nobody().await]) };
    let error = Client::new(config).unwrap().start(SESSION, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(error.effect(), Effect::None);
    assert_eq!(error.attempts(), 5);
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_write_of_unknown_fate_is_sent_again_under_its_key() {
    let lost = refusal(Kind::LeadershipLost);
    for reply in [Reply::Drop, Reply::Hang, lost, refusal(Kind::NetworkTimeout)] {
        let lossy = TestServer::start(move |_, _| reply.clone()).await;
        let other = TestServer::start(|_, _| success()).await;
        let client = client([lossy.url.clone(), other.url.clone()]);
        assert_eq!(client.start(SESSION, None).await.unwrap(), state());
        client.pause(SESSION, None).await.unwrap();
        let keys = [lossy.keys(), other.keys()].concat();
        assert_eq!(keys.len(), 3);
        assert!(keys[0].is_some() && keys[0] == keys[1], "sent again: {keys:?}");
        assert_ne!(keys[1], keys[2], "another request");
    }
}

#[tokio::test]
async fn without_a_key_a_write_of_unknown_fate_is_not_sent_again() {
    for reply in [Reply::Drop, Reply::Hang] {
        let lossy = TestServer::start(move |_, _| reply.clone()).await;
        let other = TestServer::start(|_, _| success()).await;
        let client = keyless([lossy.url.clone(), other.url.clone()]);
        let error = client.switch(SESSION, SwitchBody::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unanswered);
        assert_eq!(error.effect(), Effect::Unknown);
        assert_eq!((lossy.seen().len(), other.seen().len()), (1, 0));
        assert_eq!(lossy.keys(), [None]);
    }
}

#[tokio::test]
async fn reads_creates_and_deletes_are_sent_again() {
    let lossy = TestServer::start(|_, _| Reply::Hang).await;
    let other = TestServer::start(|_, line| match line.split_once(' ') {
        Some(("DELETE", _)) => Reply::Answer(204, String::new()),
        Some(_) | None => success(),
    });
    let other = other.await;
    let urls = [lossy.url.clone(), other.url.clone()];
    let alice = ParticipantId::from_bits(1);
    let new = new_session(SESSION, SyncMode::PerParticipant, &[(alice, Millis::new(60_000))]);
    assert_eq!(keyless(urls.clone()).create(&new).await.unwrap(), state());
    assert_eq!(keyless(urls.clone()).get(SESSION).await.unwrap(), state());
    keyless(urls).delete(SESSION).await.unwrap();
    assert_eq!((lossy.seen().len(), other.seen().len()), (3, 3));
}

#[tokio::test]
async fn an_unknown_effect_is_forgotten_only_where_the_key_tells() {
    // (with keys, what comes after a lost answer, what is known in the end)
    let table = [
        (false, Kind::SessionExists, Effect::Unknown),
        (true, Kind::SessionExists, Effect::None),
        (true, Kind::Validation, Effect::Unknown),
    ];
    for (keys, kind, effect) in table {
        let node = TestServer::start(move |number, _| match number {
            0 => Reply::Drop,
            _ => refusal(kind),
        });
        let node = node.await;
        let new = new_session(SESSION, SyncMode::Global, &[]);
        let urls = [node.url.clone()];
        let client = if keys { client(urls) } else { keyless(urls) };
        let error = client.create(&new).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Service(kind));
        assert_eq!(error.effect(), effect, "{kind:?}");
    }
}

#[tokio::test]
async fn refusals_are_retried_where_they_pass() {
    // (what the first node says at first, does the call succeed, requests it gets)
    let table = [
        (Kind::NoLeader, true, 1),
        (Kind::ShuttingDown, true, 1),
        (Kind::NodeRemoved, true, 1),
        (Kind::Overloaded, true, 2),
        (Kind::ConcurrentModification, false, 1),
        (Kind::InvalidSessionState, false, 1),
        (Kind::LeadershipLost, true, 1),
        (Kind::Internal, true, 1),
        (Kind::KeyReused, false, 1),
    ];
    for (kind, succeeds, requests) in table {
        let first = TestServer::start(move |number, _| match number {
            0 => refusal(kind),
            _ => success(),
        });
        let (first, second) = (first.await, TestServer::start(|_, _| success()).await);
        let client = client([first.url.clone(), second.url.clone()]);
        let result = client.resume(SESSION, None).await;
        assert_eq!(result.is_ok(), succeeds, "{kind:?}");
        assert_eq!(first.seen().len(), requests, "{kind:?}");
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Service(kind));
            assert_eq!(error.effect(), Effect::None);
            assert_eq!(error.status(), Some(kind.meaning().status));
            assert_eq!(error.problem().unwrap().message, "because");
        }
    }
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let body = serde_json::to_string(&Problem::new(Kind::RateLimitExceeded, "slow")).unwrap();
    let node = TestServer::start(move |_, _| Reply::Wait(429, body.clone(), 60)).await;
    let error = client([node.url.clone()]).get(SESSION).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Service(Kind::RateLimitExceeded));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(error.attempts(), 1);
}

#[tokio::test]
async fn nonsense_is_an_error_and_not_a_crash() {
    let node = TestServer::start(|number, _| match number {
        0 => Reply::Answer(200, String::from("{}")),
        1 => Reply::Answer(502, String::from("<html>")),
        _ => Reply::Answer(404, String::from("<html>")),
    });
    let node = node.await;
    let client = client([node.url.clone()]);
    for effect in [Effect::Unknown, Effect::Unknown, Effect::None] {
        let error = client.complete(SESSION, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreadable);
        assert_eq!(error.effect(), effect);
    }
}

#[tokio::test]
async fn nodes_are_asked_one_by_one() {
    let node = TestServer::start(|_, line| match line {
        "GET /health" => Reply::Answer(200, String::from(r#"{"status":"ok"}"#)),
        "GET /ready" => {
            let body = r#"{"status":"not_ready","error":"no leader is known"}"#;
            Reply::Answer(503, String::from(body))
        }
        _ => refusal(Kind::NotFound),
    });
    let node = node.await;
    let client = client([node.url.clone(), nobody().await]);
    let nodes: Vec<_> = client.nodes().collect();
    nodes[0].health().await.unwrap();
    let reason = String::from("no leader is known");
    assert_eq!(nodes[0].ready().await.unwrap(), Readiness::NotReady(reason));
    assert_eq!(nodes[0].info().await.unwrap_err().kind(), ErrorKind::Service(Kind::NotFound));
    assert_eq!(nodes[1].health().await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn the_clock_follows_the_node() {
    let node = TestServer::start(|_, _| {
        let answer = TimeAnswer::at(Stamp::from_unix_millis(5_000_000));
        Reply::Answer(200, serde_json::to_string(&answer).unwrap())
    });
    let node = node.await;
    let clock = client([node.url.clone()]).clock(3).await.unwrap();
    let now = clock.now().unix_millis();
    assert!((5_000_000..5_060_000).contains(&now), "{now}");
    assert!(clock.offset_ms() < 0);
    assert_eq!(node.seen().len(), 3);
}
