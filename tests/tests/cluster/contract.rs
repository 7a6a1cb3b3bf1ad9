//! What a client of v2 finds on every route, whatever the session: headers, paths, methods, bodies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use reqwest::Method;
use serde_json::{Value, json};
use synckairos_tests::{
    cluster::Plan,
    http::{Answer, Http, must},
    ordered::Ordered,
    sessions::{self, new_session, session_id, with},
    shared::Meeting,
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

async fn created(http: &Http) -> String {
    let body = new_session("per_participant", &[60_000, 60_000]);
    let _ = http.create(&body).await.expect(201);
    session_id(&body)
}

fn vary(answer: &Answer) -> String {
    let all = answer.headers.get_all("vary").iter();
    all.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",").to_lowercase()
}

#[tokio::test]
async fn every_answer_carries_v2s_headers_and_not_the_name_of_a_framework() {
    let cluster = CLUSTER.join().await;
    let id = created(cluster.http()).await;
    let table = [
        (Method::GET, String::from("/health"), 200),
        (Method::GET, String::from("/ready"), 200),
        (Method::GET, String::from("/v1/time"), 200),
        (Method::GET, format!("/v1/sessions/{id}"), 200),
        (Method::GET, String::from("/v1/sessions/nonsense"), 400),
        (Method::GET, format!("/v1/sessions/{}", sessions::new_id()), 404),
        (Method::GET, String::from("/nowhere"), 404),
        (Method::PUT, String::from("/v1/time"), 405),
        (Method::POST, String::from("/v1/sessions"), 400),
    ];
    for (method, path, status) in table {
        let answer = must(cluster.http().request(method.clone(), &path)).await.expect(status);
        let json = Some("application/json; charset=utf-8");
        assert_eq!(answer.header("content-type"), json, "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{path}");
        assert_eq!(answer.header("x-powered-by"), None, "{path}");
        assert!(answer.header("etag").is_some_and(|tag| tag.starts_with("W/\"")), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
        assert_eq!(answer.header("keep-alive"), Some("timeout=5"), "{path}");
    }
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told() {
    let cluster = CLUSTER.join().await;
    for path in ["/v1/sessions", "/nowhere", "/health", "/v1/sessions/nonsense/switch"] {
        let request = cluster
            .http()
            .request(Method::OPTIONS, path)
            .header("origin", "https://play.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-other");
        let answer = must(request).await.expect(204);
        let methods = Some("GET,HEAD,PUT,PATCH,POST,DELETE");
        assert_eq!(answer.header("access-control-allow-methods"), methods, "{path}");
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("content-type,x-other"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert!(vary(&answer).contains("access-control-request-headers"), "{path}");
        assert_eq!(answer.header("ratelimit-limit"), None, "{path}");
        assert_eq!(answer.text, "");
    }
}

#[tokio::test]
async fn an_unchanged_state_is_not_sent_again() {
    let cluster = CLUSTER.join().await;
    let id = created(cluster.http()).await;
    let path = format!("/v1/sessions/{id}");
    let tag = cluster.any(0).get(&path).await.expect(200).header("etag").unwrap().to_owned();
    for turn in 0..3 {
        let request = cluster.any(turn).request(Method::GET, &path).header("if-none-match", &tag);
        let answer = must(request).await.expect(304);
        assert_eq!(answer.text, "");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
    }
    let _ = cluster.any(1).command(&id, "start").await.expect(200);
    let request = cluster.any(2).request(Method::GET, &path).header("if-none-match", &tag);
    let changed = must(request).await.expect(200);
    assert_eq!(changed.data()["status"], "running");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let cluster = CLUSTER.join().await;
    let id = created(cluster.http()).await;
    for path in [format!("/v1/sessions/{id}"), String::from("/v1/time"), String::from("/health")] {
        let answer = must(cluster.http().request(Method::HEAD, &path)).await.expect(200);
        assert_eq!(answer.text, "", "{path}");
        let json = Some("application/json; charset=utf-8");
        assert_eq!(answer.header("content-type"), json, "{path}");
    }
}

#[tokio::test]
async fn paths_are_matched_in_any_case_and_with_a_slash_at_the_end() {
    let cluster = CLUSTER.join().await;
    let id = created(cluster.http()).await;
    let table = [
        (Method::GET, String::from("/V1/TIME")),
        (Method::GET, String::from("/v1/time/")),
        (Method::GET, String::from("/health/")),
        (Method::GET, String::from("/HEALTH")),
        (Method::GET, format!("/V1/Sessions/{id}/")),
        (Method::POST, format!("/v1/SESSIONS/{id}/Start/")),
    ];
    for (method, path) in table {
        let _ = must(cluster.http().request(method, &path)).await.expect(200);
    }
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_told_in_json() {
    let cluster = CLUSTER.join().await;
    let id = sessions::new_id();
    let session = format!("/v1/sessions/{id}");
    let table = [
        (Method::GET, "/", 404, None),
        (Method::GET, "/v2/sessions", 404, None),
        (Method::GET, "/ws", 404, None),
        (Method::POST, "/v1/sessions/x/y/z", 404, None),
        (Method::PUT, session.as_str(), 405, Some("GET,HEAD,DELETE")),
        (Method::DELETE, "/v1/sessions", 405, Some("GET,HEAD,POST")),
        (Method::GET, "/v1/batch", 405, Some("POST")),
        (Method::POST, "/v1/time", 405, Some("GET,HEAD")),
        (Method::POST, "/health", 405, Some("GET,HEAD")),
    ];
    for (method, path, status, allow) in table {
        let answer = must(cluster.http().request(method.clone(), path)).await.expect(status);
        let code = if status == 404 { "NOT_FOUND" } else { "METHOD_NOT_ALLOWED" };
        assert_eq!(answer.error()["code"], code, "{method} {path}");
        assert_eq!(answer.error()["effect"], "none");
        let Some(allow) = allow else { continue };
        let mut told: Vec<&str> =
            answer.header("allow").unwrap().split(',').map(str::trim).collect();
        let mut expected: Vec<&str> = allow.split(',').collect();
        told.retain(|method| *method != "OPTIONS");
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn time_health_and_readiness() {
    let cluster = CLUSTER.join().await;
    for node in &cluster.nodes {
        let time = node.http.get("/v1/time").await.expect(200);
        let keys = ["timestamp_ms", "server_version", "drift_tolerance_ms"];
        assert_eq!(Ordered::parse(&time.text).keys(), keys);
        assert_eq!(time.json()["server_version"], "2.0.0");
        assert_eq!(time.json()["drift_tolerance_ms"], 50);
        assert!(time.json()["timestamp_ms"].is_u64());
        assert_eq!(node.http.get("/health").await.expect(200).text, r#"{"status":"ok"}"#);
        assert_eq!(node.http.get("/ready").await.expect(200).text, r#"{"status":"ready"}"#);
    }
}

#[tokio::test]
async fn metrics_have_v2s_names() {
    let cluster = CLUSTER.join().await;
    let id = created(cluster.http()).await;
    let _ = cluster.http().command(&id, "start").await.expect(200);
    let _ = cluster.http().command(&id, "switch").await.expect(200);
    let _ = cluster.http().get("/no/such/route").await.expect(404);
    let metrics = cluster.http().get("/metrics").await.expect(200);
    let content_type = metrics.header("content-type").unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let samples = [
        r#"synckairos_http_requests_total{method="POST",route="/v1/sessions/:id/switch",status_code="200"}"#,
        r#"synckairos_http_requests_total{method="GET",route="unmatched",status_code="404"}"#,
        r#"synckairos_http_request_duration_ms_bucket{method="POST",route="/v1/sessions",le="25"}"#,
        r#"synckairos_switch_cycle_duration_ms_bucket{le="3"}"#,
        "synckairos_active_sessions ",
        "synckairos_websocket_connections ",
        "synckairos_db_write_queue_size ",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ];
    for sample in samples {
        assert!(metrics.text.contains(sample), "{sample} in\n{}", metrics.text);
    }
}

#[tokio::test]
async fn the_description_of_the_interface_works_without_the_internet() {
    let cluster = CLUSTER.join().await;
    let description = cluster.http().get("/api-docs.json").await.expect(200).json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let paths = [
        "/v1/sessions",
        "/v1/sessions/{id}",
        "/v1/sessions/{id}/start",
        "/v1/sessions/{id}/switch",
        "/v1/sessions/{id}/pause",
        "/v1/sessions/{id}/resume",
        "/v1/sessions/{id}/complete",
        "/v1/time",
        "/health",
        "/ready",
    ];
    for path in paths {
        assert!(description["paths"].get(path).is_some(), "{path}");
    }
    let moved = cluster.http().get("/api-docs").await.expect(301);
    assert_eq!(moved.header("location"), Some("/api-docs/"));
    let page = cluster.http().get("/api-docs/").await.expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    for outside in ["https://", "src=\"//", "href=\"//"] {
        assert!(!page.text.contains(outside), "{outside} in {}", page.text);
    }
    let scripts = page.text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut count = 0;
    for script in scripts {
        let path = format!("/api-docs/{}", script.trim_start_matches("./"));
        let _ = cluster.http().get(&path).await.expect(200);
        count += 1;
    }
    assert!(0 < count, "the page has scripts: {}", page.text);
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let cluster = CLUSTER.join().await;
    let given = cluster.http().request(Method::GET, "/v1/time").header("x-request-id", "game-7.a");
    assert_eq!(must(given).await.header("x-request-id"), Some("game-7.a"));
    let long = "x".repeat(5_000);
    let odd = cluster.http().request(Method::GET, "/v1/time").header("x-request-id", &long);
    let told = must(odd).await.header("x-request-id").unwrap().to_owned();
    assert!(told.len() <= 200, "{} bytes", told.len());
}

#[tokio::test]
async fn a_body_that_is_not_announced_as_json_does_not_exist() {
    let cluster = CLUSTER.join().await;
    let text = new_session("per_participant", &[60_000]).to_string();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut request = cluster.http().request(Method::POST, "/v1/sessions").body(text.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let error = must(request).await.expect(400).error();
        let fields: Vec<&str> = error["details"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["field"].as_str().unwrap())
            .collect();
        let missing = ["session_id", "sync_mode", "participants", "total_time_ms"];
        assert_eq!(fields, missing, "{content_type:?}");
    }
}

#[tokio::test]
async fn commands_ignore_bodies_that_are_json() {
    let cluster = CLUSTER.join().await;
    let id = created(cluster.http()).await;
    let table = [
        ("start", json!({"anything": 1})),
        ("pause", json!([1, 2])),
        ("resume", json!({})),
        ("switch", json!({"unknown": null})),
        ("complete", json!({"next_participant_id": "nonsense"})),
    ];
    for (verb, body) in table {
        let path = format!("/v1/sessions/{id}/{verb}");
        let _ = cluster.http().post_json(&path, &body).await.expect(200);
    }
    let delete = cluster.http().request(Method::DELETE, &format!("/v1/sessions/{id}"));
    let _ = must(delete.json(&json!({"x": 1}))).await.expect(204);
}

#[tokio::test]
async fn a_packed_body_is_unpacked() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000]);
    let request = cluster
        .http()
        .request(Method::POST, "/v1/sessions")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(gzip(body.to_string().as_bytes()));
    let answer = must(request).await.expect(201);
    assert_eq!(answer.data()["session_id"], body["session_id"]);
}

/// A gzip file that holds `bytes` as they are.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(bytes);
    file.extend(crc32(bytes).to_le_bytes());
    file.extend(u32::from(length).to_le_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[tokio::test]
async fn the_same_key_twice_means_the_last() {
    let cluster = CLUSTER.join().await;
    let body = new_session("per_participant", &[60_000]).to_string();
    let twice = body.replacen('{', r#"{"sync_mode":"nonsense","#, 1);
    let request = cluster
        .http()
        .request(Method::POST, "/v1/sessions")
        .header("content-type", "application/json")
        .body(twice);
    let answer = must(request).await;
    // serde_json writes keys sorted or as inserted; either way the real one is the last.
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test]
async fn ids_keep_their_spelling_and_differ_by_it() {
    let cluster = CLUSTER.join().await;
    let lower = String::from("abcdefab-cdef-4bcd-8fab-abcdefabcdef");
    let upper = lower.to_uppercase();
    for (turn, id) in [&lower, &upper].into_iter().enumerate() {
        let body = with(new_session("per_participant", &[60_000]), "session_id", id.clone());
        let _ = cluster.any(turn).create(&body).await.expect(201);
    }
    let _ = cluster.any(2).command(&upper, "start").await.expect(200);
    assert_eq!(cluster.any(0).state(&lower).await["status"], "pending");
    assert_eq!(cluster.any(1).state(&upper).await["session_id"], Value::from(upper.clone()));
    let _ = cluster.http().delete(&format!("/v1/sessions/{lower}")).await.expect(204);
    let _ = cluster.http().session(&upper).await.expect(200);
}
