//! Concurrent switches of one session through all nodes: nothing is lost, nothing is done twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use futures_util::future::join_all;
use synckairos_tests::{cluster::Plan, load, sessions};

const ROUNDS: usize = 200;
const CONCURRENT: usize = 5;

#[tokio::test]
async fn every_acknowledged_switch_is_one_version() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    let mut version = sessions::number(&cluster.http().state(&session).await["version"]);
    let first = version;
    let mut acknowledged = 0;

    for round in 0..ROUNDS {
        let requests = (0..CONCURRENT).map(|n| cluster.any(round + n).command(&session, "switch"));
        let answers = join_all(requests).await;
        let mut versions = Vec::new();
        for answer in &answers {
            match answer.status {
                200 => versions.push(sessions::number(&answer.data()["version"])),
                409 => assert_eq!(answer.error()["code"], "CONFLICT", "{}", answer.text),
                other => panic!("round {round}: {other} {}", answer.text),
            }
        }
        assert!(!versions.is_empty(), "round {round}: nobody won");
        versions.sort_unstable();
        let gained = u64::try_from(versions.len()).unwrap();
        let expected: Vec<u64> = (version + 1..=version + gained).collect();
        assert_eq!(versions, expected, "round {round}: each answer is one version, none twice");
        version += gained;
        acknowledged += gained;
    }

    for node in &cluster.nodes {
        let state = node.http.state(&session).await;
        assert_eq!(sessions::number(&state["version"]), first + acknowledged);
        assert_eq!(sessions::cycles(&state), acknowledged);
    }
    eprintln!("{acknowledged} of {} switches won", ROUNDS * CONCURRENT);
}

#[tokio::test]
async fn of_two_that_expect_the_same_version_one_wins() {
    let cluster = Plan::of(3).start().await;
    let session = load::running_session(cluster.http()).await;
    let path = format!("/v1/sessions/{session}/switch");
    for round in 0..50 {
        let version = sessions::number(&cluster.any(round).state(&session).await["version"]);
        let body = serde_json::json!({ "expected_version": version });
        let answers = join_all((0..3).map(|n| cluster.any(n).post_json(&path, &body))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409], "round {round}");
        for lost in answers.iter().filter(|answer| answer.status == 409) {
            let details = &lost.error()["details"];
            assert_eq!(details["expected_version"], version, "{}", lost.text);
            assert_eq!(details["actual_version"], version + 1, "{}", lost.text);
        }
    }
}
