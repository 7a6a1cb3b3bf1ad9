//! What one client may ask of a node: rates, connections, slowness.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use futures_util::future::join_all;
use reqwest::Method;
use synckairos_tests::{
    cluster::Plan,
    http::{Answer, must},
    load,
    sessions::new_id,
    wait::{PATIENCE, eventually, holds},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

fn limited(answer: &Answer, message: &str, window: u64) {
    let error = answer.error();
    assert_eq!(error["code"], "RATE_LIMIT_EXCEEDED");
    assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    assert_eq!(error["retry_after_seconds"], window, "a constant inside the body");
    assert_eq!(error["retryable"], true);
    let left = answer.header("retry-after").unwrap().parse::<u64>().unwrap();
    assert!(left <= window, "{left} s left of {window}");
    assert_eq!(answer.header("ratelimit-reset"), answer.header("retry-after"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
}

#[tokio::test]
async fn an_address_has_a_hundred_requests_a_minute() {
    let cluster = Plan::of(1).with_limits().start().await;
    let http = cluster.http();
    for sent in 1..=100u32 {
        // Failures count, and unknown routes too.
        let path = if sent % 2 == 0 { "/v1/time" } else { "/nowhere" };
        let answer = http.get(path).await;
        assert_ne!(answer.status, 429, "request {sent}");
        assert_eq!(answer.header("ratelimit-policy"), Some("100;w=60"));
        assert_eq!(answer.header("ratelimit-limit"), Some("100"));
        let left = (100 - sent).to_string();
        assert_eq!(answer.header("ratelimit-remaining"), Some(left.as_str()));
    }
    limited(&http.get("/v1/time").await.expect(429), "Too many requests", 60);
    let unlimited =
        ["/health", "/ready", "/metrics", "/v1/cluster/nodes", "/api-docs.json", "/api-docs/"];
    for path in unlimited {
        let answer = http.get(path).await.expect(200);
        assert_eq!(answer.header("ratelimit-limit"), None, "{path}");
    }
    let _ = must(http.request(Method::OPTIONS, "/v1/time")).await.expect(204);
    let broken = http.request(Method::POST, "/v1/sessions");
    let broken = broken.header("content-type", "application/json").body("{");
    assert_eq!(must(broken).await.expect(400).header("ratelimit-limit"), None);
}

#[tokio::test]
async fn a_session_has_ten_switches_a_second() {
    let plan = Plan::of(1).with_limits().set("http.rate_limit_general", 0);
    let cluster = plan.start().await;
    let http = cluster.http();
    let session = load::running_session(http).await;
    let answers = join_all((0..40).map(|_| http.command(&session, "switch"))).await;
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty(), "40 at once are too many");
    for answer in refused {
        limited(answer, "Too many cycle switches", 1);
        assert_eq!(answer.header("ratelimit-policy"), Some("10;w=1"));
    }
    // A switch of a session that is not there costs one, a body that is wrong costs none.
    let other = new_id();
    let path = format!("/v1/sessions/{other}/switch");
    let wrong = serde_json::json!({ "next_participant_id": null });
    assert_eq!(http.post_json(&path, &wrong).await.expect(400).header("ratelimit-policy"), None);
    let answer = http.command(&other, "switch").await.expect(404);
    assert_eq!(answer.header("ratelimit-policy"), Some("10;w=1"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("9"));
}

#[tokio::test]
async fn tests_are_counted_by_session_and_v2s_variables_work() {
    let plan = Plan::of(1).with_limits().environment("NODE_ENV", "test");
    let plan = plan.environment("RATE_LIMIT_GENERAL", "5").environment("RATE_LIMIT_SWITCH", "0");
    let cluster = plan.start().await;
    for _ in 0..3 {
        let path = format!("/v1/sessions/{}", new_id());
        for sent in 1..=6 {
            let status = if sent <= 5 { 404 } else { 429 };
            let _ = cluster.http().get(&path).await.expect(status);
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_finish_is_let_go() {
    let plan = Plan::of(1).set("http.header_read_timeout_ms", 300);
    let cluster = plan.set("http.body_read_timeout_ms", 300).start().await;
    let address = cluster.nodes[0].address;
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: x\r\n";
    let body = format!("{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{");
    for unfinished in [head, body.as_str()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(unfinished.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_are_told_so() {
    let cluster = Plan::of(1).set("http.connections_max", 4).start().await;
    let node = &cluster.nodes[0];
    let mut held = Vec::new();
    eventually(PATIENCE, "the node is full", async || {
        held.push(TcpStream::connect(node.address).await.map_err(|error| error.to_string())?);
        let mut last = TcpStream::connect(node.address).await.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        let ended =
            timeout(std::time::Duration::from_millis(200), last.read_to_string(&mut answer));
        let ended = ended.await.is_ok();
        holds(ended && answer.contains("503") && answer.contains("OVERLOADED"), || answer)
    })
    .await;
    drop(held);
    eventually(PATIENCE, "there is room again", async || {
        match node.http.try_get("/health").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.text),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}
