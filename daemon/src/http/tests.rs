//! Requests up to the session: everything that needs no cluster.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use flate2::{Compression, write::GzEncoder};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use synckairos_protocol::{
    command::Intent,
    time::{Millis, Stamp},
};

use super::{
    Edge,
    edge::{Step, approach},
    reply::Reply,
    sessions::Action,
    settings::HttpSettings,
};
use crate::{
    admission::Limits,
    push::{Point, events::Begin},
    raft::clock::ClusterClock,
};

const SESSION: &str = "123e4567-e89b-12d3-a456-426614174000";
const BOB: &str = "223e4567-e89b-12d3-a456-426614174002";
const JSON: &str = "application/json";

/// A node's edge, without a node behind it.
struct Stage {
    clock: ClusterClock,
    limits: Limits,
    settings: HttpSettings,
}

impl Stage {
    fn new(settings: HttpSettings) -> Self {
        Self { clock: ClusterClock::default(), limits: Limits::new(&settings), settings }
    }

    fn unlimited() -> Self {
        let settings = HttpSettings::default();
        Self::new(HttpSettings { rate_limit_general: 0, rate_limit_switch: 0, ..settings })
    }

    async fn send(&self, request: Request<Body>) -> Step {
        let edge = Edge {
            clock: &self.clock,
            limits: &self.limits,
            settings: &self.settings,
            now: Millis::new(5_000),
        };
        let (head, body) = request.into_parts();
        approach(edge, IpAddr::V4(Ipv4Addr::LOCALHOST), &head, body).await
    }

    async fn call(&self, method: Method, path: &str, content_type: &str, body: &[u8]) -> Step {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body.to_vec()))
            .unwrap();
        self.send(request).await
    }

    async fn answer(&self, method: Method, path: &str, body: &str) -> Reply {
        match self.call(method, path, JSON, body.as_bytes()).await {
            Step::Answered(reply) => reply,
            Step::Node | Step::Session(..) | Step::Events(..) => panic!("{path} was passed on"),
        }
    }

    async fn intent(&self, path: &str, content_type: &str, body: &[u8]) -> Intent {
        match self.call(Method::POST, path, content_type, body).await {
            Step::Session(Action::Propose(intent), _) => intent,
            step @ (Step::Answered(_) | Step::Node | Step::Session(..) | Step::Events(..)) => {
                panic!("{path}: {step:?}")
            }
        }
    }
}

fn switch_path() -> String {
    format!("/v1/sessions/{SESSION}/switch")
}

fn error(reply: &Reply) -> Value {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["error"].clone()
}

#[tokio::test]
async fn wrong_bodies_are_the_senders_fault() {
    let stage = Stage::unlimited();
    let large = format!("[{}]", " ".repeat(1_100_000));
    let table = [
        ("{", 400, "VALIDATION_ERROR"),
        ("null", 400, "VALIDATION_ERROR"),
        ("7", 400, "VALIDATION_ERROR"),
        ("\"text\"", 400, "VALIDATION_ERROR"),
        ("  ", 400, "VALIDATION_ERROR"),
        (large.as_str(), 413, "PAYLOAD_TOO_LARGE"),
    ];
    for (body, status, code) in table {
        for path in ["/v1/sessions", "/health", "/nowhere"] {
            let reply = stage.answer(Method::POST, path, body).await;
            assert_eq!(reply.status.as_u16(), status, "{path} {:.20}", body);
            assert_eq!(error(&reply)["code"], code);
            assert_eq!(error(&reply)["effect"], "none");
            assert!(!reply.headers.contains_key("ratelimit-limit"));
        }
    }
}

#[tokio::test]
async fn only_announced_json_is_a_body() {
    let stage = Stage::unlimited();
    let named = format!(r#"{{"next_participant_id":"{BOB}"}}"#);
    let next = BOB.parse().ok();
    let table = [
        (JSON, named.as_bytes(), next),
        ("application/json; charset=UTF-8", named.as_bytes(), next),
        ("text/plain", named.as_bytes(), None),
        ("application/x-www-form-urlencoded", b"a=1".as_slice(), None),
        (JSON, b"".as_slice(), None),
        (JSON, b"\xef\xbb\xbf{}".as_slice(), None),
    ];
    for (content_type, body, expected) in table {
        let intent = stage.intent(&switch_path(), content_type, body).await;
        let Intent::Switch { next, .. } = intent else { panic!("{intent:?}") };
        assert_eq!(next, expected, "{content_type}");
    }
    let no_body = Request::post(switch_path()).body(Body::empty()).unwrap();
    assert!(matches!(stage.send(no_body).await, Step::Session(..)));
}

#[tokio::test]
async fn compressed_bodies_are_read_within_the_limit() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let stage = Stage::unlimited();
    let bomb = gzip(&vec![b' '; 5_000_000]);
    let named = gzip(format!(r#"{{"next_participant_id":"{BOB}"}}"#).as_bytes());
    let table = [
        (named, "gzip", None),
        (bomb, "gzip", Some(413)),
        (b"not gzip".to_vec(), "gzip", Some(400)),
        (b"{}".to_vec(), "compress", Some(500)),
    ];
    for (body, coding, status) in table {
        let request = Request::post(switch_path())
            .header(header::CONTENT_TYPE, JSON)
            .header(header::CONTENT_ENCODING, coding)
            .header(header::TRANSFER_ENCODING, "chunked")
            .body(Body::from(body))
            .unwrap();
        match (stage.send(request).await, status) {
            (Step::Session(Action::Propose(Intent::Switch { next, .. }), _), None) => {
                assert_eq!(next, BOB.parse().ok());
            }
            (Step::Answered(reply), Some(status)) => assert_eq!(reply.status.as_u16(), status),
            (other, status) => panic!("{coding} {status:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_id_in_the_path_is_judged_before_the_body() {
    let stage = Stage::unlimited();
    let reply = stage.answer(Method::POST, "/v1/sessions/nope/switch", "[]").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let error_body = error(&reply);
    assert_eq!(error_body["message"], "Request validation failed");
    assert_eq!(error_body["details"][0]["field"], "id");
    assert_eq!(error_body["details"][0]["code"], "invalid_format");

    let broken = stage.answer(Method::GET, "/v1/sessions/%zz", "").await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(error(&broken)["retryable"], false);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_told_in_json() {
    let stage = Stage::unlimited();
    let table = [
        (Method::GET, "/nowhere", 404, None),
        (Method::GET, "/ws", 404, None),
        (Method::DELETE, "/v1/sessions", 405, Some("GET, HEAD, POST")),
        (Method::GET, "/v1/batch", 405, Some("POST")),
        (Method::PUT, "/v1/sessions/x", 405, Some("GET, HEAD, DELETE")),
        (Method::GET, "/v1/sessions/x/start", 405, Some("POST")),
        (Method::POST, "/v1/sessions/x/events", 405, Some("GET")),
        (Method::POST, "/v1/time", 405, Some("GET, HEAD")),
        (Method::DELETE, "/health", 405, Some("GET, HEAD")),
    ];
    for (method, path, status, allow) in table {
        let reply = stage.answer(method, path, "").await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        let header = reply.headers.get(header::ALLOW).map(|value| value.to_str().unwrap());
        assert_eq!(header, allow, "{path}");
        assert!(error(&reply)["code"].is_string());
    }
}

#[tokio::test]
async fn the_time_is_told_once_a_leader_was_heard() {
    let stage = Stage::unlimited();
    let unknown = stage.answer(Method::GET, "/v1/time", "").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error(&unknown)["kind"], "NO_LEADER");
    stage.clock.heard(Stamp::from_unix_millis(1_790_000_000_000));
    let known = stage.answer(Method::GET, "/v1/time", "").await;
    assert_eq!(known.status, StatusCode::OK);
}

#[tokio::test]
async fn the_general_limiter_counts_all_but_what_watches_the_node() {
    let stage = Stage::new(HttpSettings { rate_limit_general: 2, ..HttpSettings::default() });
    let first = stage.answer(Method::GET, "/v1/time", "").await;
    assert_eq!(first.headers["ratelimit-policy"], "2;w=60");
    assert_eq!(first.headers["ratelimit-limit"], "2");
    assert_eq!(first.headers["ratelimit-remaining"], "1");
    assert_eq!(first.headers["ratelimit-reset"], "60");
    let second = stage.answer(Method::GET, "/nowhere", "").await;
    assert_eq!(second.headers["ratelimit-remaining"], "0");

    let refused = stage.answer(Method::GET, "/v1/time", "").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers[header::RETRY_AFTER], "60");
    assert_eq!(error(&refused)["retry_after_seconds"], 60);
    assert!(error(&refused)["message"].as_str().unwrap().starts_with("Too many requests"));

    for path in ["/health", "/health/", "/api-docs.json", "/api-docs", "/api-docs/"] {
        let reply = stage.answer(Method::GET, path, "").await;
        assert!(reply.status.is_success() || reply.status.is_redirection(), "{path}");
        assert!(!reply.headers.contains_key("ratelimit-limit"), "{path}");
    }
    let options = stage.answer(Method::OPTIONS, "/v1/time", "").await;
    assert_eq!(options.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_switch_limiter_counts_valid_switches_of_one_session() {
    let stage = Stage::new(HttpSettings { rate_limit_switch: 1, ..HttpSettings::default() });
    let invalid = stage.answer(Method::POST, &switch_path(), "[]").await;
    assert_eq!(invalid.status, StatusCode::BAD_REQUEST);
    assert_eq!(invalid.headers["ratelimit-policy"], "100;w=60");

    let step = stage.call(Method::POST, &switch_path(), JSON, b"{}").await;
    let Step::Session(_, Some(verdict)) = step else { panic!("{step:?}") };
    assert_eq!((verdict.limit, verdict.remaining), (1, 0));

    let refused = stage.answer(Method::POST, &switch_path(), "{}").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["ratelimit-policy"], "1;w=1");
    assert_eq!(error(&refused)["retry_after_seconds"], 1);
    let message = error(&refused)["message"].clone();
    assert!(message.as_str().unwrap().contains("Too many cycle switches"));

    let other = format!("/v1/sessions/{BOB}/switch");
    assert!(matches!(stage.call(Method::POST, &other, JSON, b"{}").await, Step::Session(..)));
}

#[tokio::test]
async fn commands_carry_the_version_that_the_caller_expects() {
    let stage = Stage::unlimited();
    for (word, body, expected) in
        [("start", "{}", None), ("pause", r#"{"expected_version":3,"x":null}"#, Some(3))]
    {
        let path = format!("/v1/sessions/{SESSION}/{word}");
        let intent = stage.intent(&path, JSON, body.as_bytes()).await;
        let (Intent::Start { expected_version, .. } | Intent::Pause { expected_version, .. }) =
            intent
        else {
            panic!("{intent:?}")
        };
        assert_eq!(expected_version, expected);
    }
    let path = format!("/v1/sessions/{SESSION}/resume");
    let reply = stage.answer(Method::POST, &path, r#"{"expected_version":"3"}"#).await;
    assert_eq!(error(&reply)["details"][0]["field"], "expected_version");
    assert!(matches!(
        stage.call(Method::POST, &path, JSON, json!([1]).to_string().as_bytes()).await,
        Step::Session(..)
    ));
}

/// The key and digest that a request with these key headers is proposed under.
async fn keyed(stage: &Stage, path: &str, body: &str, keys: &[&str]) -> Result<Intent, Value> {
    let mut request = Request::post(path)
        .header(header::CONTENT_TYPE, JSON)
        .header(header::CONTENT_LENGTH, body.len());
    for key in keys {
        request = request.header("Idempotency-Key", *key);
    }
    match stage.send(request.body(Body::from(body.to_owned())).unwrap()).await {
        Step::Session(Action::Propose(intent), _) => Ok(intent),
        Step::Answered(reply) => Err(error(&reply)["details"][0]["field"].clone()),
        step @ (Step::Node | Step::Session(..) | Step::Events(..)) => panic!("{step:?}"),
    }
}

#[tokio::test]
async fn a_key_stands_for_what_the_request_means() {
    let stage = Stage::unlimited();
    let path = switch_path();
    let body = format!(r#"{{"next_participant_id":"{BOB}"}}"#);
    let spaced = format!(r#"{{ "x": 7, "next_participant_id": "{BOB}" }}"#);
    let Ok(Intent::Once { key, intent }) = keyed(&stage, &path, &body, &["k-1"]).await else {
        panic!("a request with a key is proposed under it")
    };
    assert_eq!(key.key, "k-1");
    assert!(matches!(&*intent, Intent::Switch { next: Some(_), .. }));
    let other_path = format!("/v1/sessions/{BOB}/switch");
    let table = [
        (path.as_str(), body.as_str(), "k-1", true),
        (path.as_str(), spaced.as_str(), "\"k-1\"", true),
        (path.as_str(), "{}", "k-1", false),
        (other_path.as_str(), body.as_str(), "k-1", false),
    ];
    for (path, body, word, same) in table {
        let again = keyed(&stage, path, body, &[word]).await;
        let Ok(Intent::Once { key: again, .. }) = again else { panic!("{again:?}") };
        assert_eq!(again == key, same, "{path} {body}");
    }
    let plain = keyed(&stage, &path, &body, &[]).await;
    assert_eq!(plain.as_ref(), Ok(&*intent));
    for keys in [&["a", "a"][..], &["a b"], &[""]] {
        assert_eq!(keyed(&stage, &path, &body, keys).await, Err(json!("Idempotency-Key")));
    }
    let wrong = keyed(&stage, &path, r#"{"expected_version":0}"#, &["a b"]).await;
    assert_eq!(wrong, Err(json!("expected_version")), "the body is judged first");
}

#[tokio::test]
async fn each_switch_of_a_batch_counts() {
    let stage = Stage::new(HttpSettings { rate_limit_switch: 2, ..HttpSettings::default() });
    let switch = json!({"action": "switch", "session_id": SESSION});
    let other = json!({"action": "switch", "session_id": BOB});
    let two = json!({"commands": [switch, other, switch]}).to_string();
    let step = stage.call(Method::POST, "/v1/batch", JSON, two.as_bytes()).await;
    let Step::Session(Action::Propose(Intent::Atomic { intents }), Some(verdict)) = step else {
        panic!("{step:?}")
    };
    assert_eq!((intents.len(), verdict.limit), (3, 100));
    let refused = stage.answer(Method::POST, "/v1/batch", &two).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["ratelimit-policy"], "2;w=1");
}

#[tokio::test]
async fn reads_say_how_fresh_they_must_be() {
    use synckairos_protocol::wire::listing::Consistency;
    let stage = Stage::unlimited();
    let path = format!("/v1/sessions/{SESSION}");
    let table = [
        ("", Some(Consistency::Linearizable)),
        ("?consistency=linearizable", Some(Consistency::Linearizable)),
        ("?x=1&consistency=stale", Some(Consistency::Stale)),
        ("?consistency=lease", None),
        ("?consistency=", None),
    ];
    for (query, expected) in table {
        for path in [&path, "/v1/sessions"] {
            let step = stage.call(Method::GET, &format!("{path}{query}"), JSON, b"").await;
            let consistency = match step {
                Step::Session(Action::Read(_, consistency), _) => Some(consistency),
                Step::Session(Action::List(query), _) => Some(query.consistency),
                Step::Answered(reply) => {
                    assert_eq!(error(&reply)["details"][0]["field"], "consistency");
                    None
                }
                step @ (Step::Node | Step::Session(..) | Step::Events(..)) => panic!("{step:?}"),
            };
            assert_eq!(consistency, expected, "{path}{query}");
        }
    }
}

#[tokio::test]
async fn an_event_stream_begins_where_its_client_was() {
    let stage = Stage::unlimited();
    let after = |version, revision| Some(Begin::After(Point { version, revision }));
    let table = [
        ("", None, Some(Begin::State)),
        ("?since=4", None, after(4, None)),
        ("?since=4&revision=9", None, after(4, Some(9))),
        ("?since=4", Some("7-31"), after(7, Some(31))),
        ("", Some("7"), after(7, None)),
        ("?since=4", Some("end"), Some(Begin::Ended)),
        ("?since=4", Some(""), after(4, None)),
        ("?since=x", None, None),
        ("?since=end", None, None),
        ("?since=4&revision=", None, None),
        ("", Some("x"), None),
        ("", Some("1-2-3"), None),
    ];
    for (query, last, expected) in table {
        let path = format!("/v1/sessions/{SESSION}/events{query}");
        let request = Request::get(&path).header("last-event-id", last.unwrap_or_default());
        let step = stage.send(request.body(Body::empty()).unwrap()).await;
        match (step, expected) {
            (Step::Events(_, begin, None), Some(expected)) => assert_eq!(begin, expected, "{path}"),
            (Step::Answered(reply), None) => {
                assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
            }
            (other, _) => panic!("{path} {last:?}: {other:?}"),
        }
    }
    let nobody = stage.answer(Method::GET, "/v1/sessions/nobody/events", "").await;
    assert_eq!(nobody.status, StatusCode::BAD_REQUEST);
}
