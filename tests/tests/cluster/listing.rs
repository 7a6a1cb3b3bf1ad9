//! Lists leave nothing out: what was acknowledged before is in them, once and in order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use synckairos_client::client::{Client, Config};
use synckairos_protocol::{
    session::Status,
    wire::listing::{Consistency, ListQuery},
};
use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    sessions::{new_session, session_id, text},
    shared::Meeting,
    wait::{PATIENCE, eventually, holds},
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

/// The ids on all pages of this size, each page from another node.
async fn walk(cluster: &Cluster, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    for turn in 0.. {
        let page = cluster.any(turn).get(&format!("/v1/sessions?{query}{cursor}")).await;
        let page = page.expect(200).json();
        let sessions = page["data"].as_array().unwrap();
        ids.extend(sessions.iter().map(|session| text(&session["session_id"])));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(ids.is_sorted(), "{ids:?}");
    ids
}

async fn create(http: &Http) -> String {
    let body = new_session("per_participant", &[60_000]);
    let _ = http.create(&body).await.expect(201);
    session_id(&body)
}

#[tokio::test]
async fn what_was_acknowledged_anywhere_is_listed_everywhere() {
    let cluster = CLUSTER.join().await;
    let mut mine = BTreeSet::new();
    for turn in 0..30 {
        let id = create(cluster.any(turn)).await;
        mine.insert(id.clone());
        let ids = walk(&cluster, "limit=7").await;
        let unique: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(unique.len(), ids.len(), "none twice");
        let missing: Vec<&String> = mine.difference(&unique).collect();
        assert!(missing.is_empty(), "not listed at turn {turn}: {missing:?}");
    }
    let gone = mine.pop_first().unwrap();
    let _ = cluster.any(1).delete(&format!("/v1/sessions/{gone}")).await.expect(204);
    assert!(!walk(&cluster, "limit=200").await.contains(&gone));
}

#[tokio::test]
async fn pages_hold_states_of_one_status_where_one_is_asked_for() {
    let cluster = CLUSTER.join().await;
    let (running, paused) = (create(cluster.any(0)).await, create(cluster.any(1)).await);
    let _ = cluster.any(2).command(&running, "start").await.expect(200);
    let _ = cluster.any(2).command(&paused, "start").await.expect(200);
    let _ = cluster.any(0).command(&paused, "pause").await.expect(200);
    assert!(walk(&cluster, "status=running").await.contains(&running));
    assert!(!walk(&cluster, "status=running&limit=1").await.contains(&paused));
    assert_eq!(walk(&cluster, "status=paused").await, std::slice::from_ref(&paused));
    let page = cluster.http().get("/v1/sessions?status=paused").await.expect(200);
    assert_eq!(page.json()["data"][0], cluster.http().state(&paused).await);
    assert!(page.json().get("revision").is_none(), "only a stale page says how old it is");
    let head = cluster.http().request(reqwest::Method::HEAD, "/v1/sessions");
    assert_eq!(synckairos_tests::http::must(head).await.status, 200);

    let refused = cluster.http().get("/v1/sessions?limit=0&status=x&cursor=y").await.expect(400);
    let details = refused.error()["details"].clone();
    let fields: Vec<&str> =
        details.as_array().unwrap().iter().map(|issue| issue["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["status", "limit", "cursor"]);
}

#[tokio::test]
async fn the_client_walks_the_pages() {
    let cluster = CLUSTER.join().await;
    let id = create(cluster.any(0)).await;
    let nodes = cluster.nodes.iter().map(|node| format!("http://{}", node.address));
    let client = Client::new(Config::new(nodes)).unwrap();
    let mut query = ListQuery { status: Some(Status::Pending), limit: 3, ..ListQuery::default() };
    let mut found = false;
    loop {
        let page = client.list(&query).await.unwrap();
        assert!(page.data.len() <= 3 && page.freshness.is_none());
        found |= page.data.iter().any(|state| state.session_id.to_string() == id);
        let Some(next) = page.next_cursor else { break };
        query.cursor = Some(next);
    }
    assert!(found);
    let stale = ListQuery { consistency: Consistency::Stale, ..ListQuery::default() };
    assert!(client.list(&stale).await.unwrap().freshness.is_some());
    eventually(PATIENCE, "a stale read finds it", async || {
        let answer = client.get_stale(id.parse().unwrap()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        holds(0 < answer.freshness.revision, || format!("{answer:?}"))
    })
    .await;
}
