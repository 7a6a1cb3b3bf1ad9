//! A new cluster with `cluster init`, and nodes that come in by token.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;
use synckairos_tests::{
    command_line::{self, Printed},
    home::{Home, Token},
    load,
    node::path_text,
    sessions::text,
    wait::{PATIENCE, eventually, holds},
};

/// Refused, and the last thing it says has all of these words.
#[track_caller]
fn refused(printed: Printed, words: &[&str]) {
    let printed = printed.expect(1);
    assert!(printed.stdout.is_empty(), "{printed:?}");
    assert!(printed.stderr.starts_with("synckairos: "), "{printed:?}");
    for word in words {
        assert!(printed.stderr.contains(word), "{word:?} in {printed:?}");
    }
}

fn token_of(created: &Value) -> String {
    text(&created["token"])
}

#[tokio::test]
async fn a_cluster_of_one_is_laid_out_and_serves() {
    let mut home = Home::new();
    let made = home.init().expect(0);
    assert_eq!(made.json()["node_id"], 1);
    let dir = home.dir();
    for next in ["synckairos serve --data-dir", "cluster token create --data-dir"] {
        assert!(made.stderr.contains(&format!("{next} {}", dir.display())), "{made:?}");
    }
    for secret in ["tls/ca.key", "tls/node.key"] {
        let mode = fs::metadata(home.file(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    refused(home.init(), &["is the home of a node already", "serve --data-dir"]);

    home.start();
    home.await_ready().await;
    let status = home.http.get("/v1/cluster/status").await.expect(200).json();
    // It serves, and no further voter may fail.
    assert_eq!(status["health"], "DEGRADED", "{status}");
    assert_eq!(status["cluster_id"], made.json()["cluster_id"]);
    let session = load::running_session(&home.http).await;
    home.stop().await;
    // What the program laid out lies beside its data and is left alone.
    home.start();
    home.await_ready().await;
    let _ = home.http.get(&format!("/v1/sessions/{session}")).await.expect(200);

    let shown = command_line::run(&["config", "show", "--data-dir", path_text(&dir), "-o", "json"]);
    let shown = shown.expect(0).json();
    let ca_key = shown.as_array().unwrap().iter().find(|row| row["key"] == "peer.ca_key").unwrap();
    assert_eq!(ca_key["value"], home.file("tls/ca.key").display().to_string());
    assert_eq!(ca_key["source"], format!("file {}", home.file("node.toml").display()));
}

#[tokio::test]
async fn what_lies_in_a_directory_is_left_alone() {
    let (home, joining) = (Home::new(), Home::new());
    for home in [&home, &joining] {
        fs::create_dir(home.dir()).unwrap();
        fs::write(home.file("notes.txt"), "mine").unwrap();
    }
    refused(home.init(), &["is not empty"]);
    let token = Token {
        cluster: [1; 16],
        pin: [2; 32],
        nodes: vec![(1, String::from("127.0.0.1:1"))],
        id: [3; 16],
        secret: [4; 32],
        expires_at_ms: 0,
    };
    refused(joining.join(&token.text()), &["is not empty"]);
    for home in [&home, &joining] {
        assert_eq!(fs::read_dir(home.dir()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn a_token_that_was_copied_badly_is_told_from_others() {
    let home = Home::new();
    let token = Token {
        cluster: [1; 16],
        pin: [2; 32],
        nodes: vec![(1, String::from("127.0.0.1:1"))],
        id: [3; 16],
        secret: [4; 32],
        expires_at_ms: 0,
    };
    let token = token.text();
    let (cut, wrong) = (&token[..token.len() - 1], token.replace("skj1_U", "skj1_V"));
    for mistyped in [cut, &wrong] {
        refused(home.join(mistyped), &["copy the whole line", "token create"]);
    }
    refused(home.join("secret"), &["no join token", "skj1_"]);
    refused(home.join_by_stdin(cut), &["copy the whole line"]);
    refused(home.join(&token.replace("skj1_", "skj2_")), &["newer version"]);
    assert!(!home.dir().exists());
}

#[tokio::test]
async fn a_key_that_is_not_the_authoritys_keeps_a_node_from_starting() {
    let (mut home, other) = (Home::new(), Home::new());
    for home in [&home, &other] {
        let _ = home.init().expect(0);
    }
    fs::copy(other.file("tls/ca.key"), home.file("tls/ca.key")).unwrap();
    home.start();
    eventually(PATIENCE, "it says why it does not start", async || {
        let told = home.log();
        holds(told.contains("ca.key is not the private key of"), || told)
    })
    .await;
}

#[tokio::test]
async fn whoever_is_not_the_tokens_cluster_hears_nothing() {
    let (home, joining) = (Home::founded().await, Home::new());
    let config: toml::Table =
        toml::from_str(&fs::read_to_string(home.file("node.toml")).unwrap()).unwrap();
    let cluster: uuid::Uuid = config["cluster"]["id"].as_str().unwrap().parse().unwrap();
    let wrong_pin = Token {
        cluster: cluster.into_bytes(),
        pin: [7; 32],
        nodes: vec![(1, home.peer.to_string())],
        id: [3; 16],
        secret: [4; 32],
        expires_at_ms: 0,
    };
    let printed = joining.join(&wrong_pin.text());
    refused(printed, &["node 1 at", "does not prove", "make a new token"]);
    // Its key is kept for the next try, and nothing else is there.
    assert_eq!(fs::read_dir(joining.file("tls")).unwrap().count(), 1);
    assert!(!joining.file("node.toml").exists());
}

#[tokio::test]
async fn a_node_joins_by_token_and_has_what_the_others_have() {
    let (home, mut joining) = (Home::founded().await, Home::new());
    let session = load::running_session(&home.http).await;
    let token = token_of(&home.token(&[]));
    let joined = joining.join_by_stdin(&token).expect(0);
    assert_eq!(joined.json()["node_id"], 2, "{joined:?}");
    assert!(joined.stderr.contains("synckairos serve --data-dir"), "{joined:?}");
    joining.start();
    joining.await_ready().await;
    let _ = joining.http.get(&format!("/v1/sessions/{session}")).await.expect(200);
    // It holds the authority's key, so it lets others in itself.
    let mut third = Home::new();
    let joined = third.join(&token_of(&joining.token(&[]))).expect(0);
    assert_eq!(joined.json()["node_id"], 3, "{joined:?}");
    third.start();
    third.await_ready().await;
    eventually(PATIENCE, "all three vote", async || {
        let status = home.http.get("/v1/cluster/status").await.expect(200).json();
        let voters = status["nodes"].as_array().unwrap().iter();
        holds(voters.filter(|node| node["voter"] == true).count() == 3, || status.to_string())
    })
    .await;
    joining.stop().await;
    joining.start();
    joining.await_ready().await;
}

#[tokio::test]
async fn a_try_that_was_interrupted_is_repeated() {
    let (home, joining) = (Home::founded().await, Home::new());
    let token = token_of(&home.token(&[]));
    assert_eq!(joining.join(&token).expect(0).json()["node_id"], 2);
    let key = fs::read(joining.file("tls/node.key")).unwrap();
    // Killed before its last file was written.
    for file in ["node.toml", "tls/node.crt", "tls/ca.key"] {
        fs::remove_file(joining.file(file)).unwrap();
    }
    assert_eq!(joining.join(&token).expect(0).json()["node_id"], 2);
    assert_eq!(fs::read(joining.file("tls/node.key")).unwrap(), key);
    // Killed after it.
    let again = joining.join(&token).expect(0);
    assert_eq!(again.json()["node_id"], 2);
    assert!(again.stderr.contains("already"), "{again:?}");
    let other = Home::founded().await;
    refused(joining.join(&token_of(&other.token(&[]))), &["home of a node already"]);
    // The id was given out once.
    let next = Home::new();
    assert_eq!(next.join(&token_of(&home.token(&[]))).expect(0).json()["node_id"], 3);
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_with_the_reason() {
    let (home, joining, late) = (Home::founded().await, Home::new(), Home::new());
    let token = token_of(&home.token(&[]));
    assert_eq!(joining.join(&token).expect(0).json()["node_id"], 2);
    refused(late.join(&token), &["used by node 2", "token create"]);
    // Who holds the token and knows the addresses still does not have the key.
    let mut posing = Home::new();
    (posing.peer, posing.address) = (joining.peer, joining.address);
    refused(posing.join(&token), &["used by node 2", "token create"]);
    for file in ["node.toml", "tls/node.crt", "tls/ca.key"] {
        assert!(!posing.file(file).exists(), "{file}");
    }

    let unknown = Token { id: [9; 16], ..Token::read(&token) };
    refused(late.join(&unknown.text()), &["not known", "token create"]);
    let forged = Token { secret: [9; 32], ..Token::read(&token) };
    refused(late.join(&forged.text()), &["not known", "token create"]);

    let short = home.token(&["--ttl", "1s"]);
    let expires_at_ms = short["expires_at_ms"].as_u64().unwrap();
    eventually(PATIENCE, "the token has expired", async || {
        let time = home.http.get("/v1/time").await.expect(200).json();
        holds(time["timestamp_ms"].as_u64().unwrap() > expires_at_ms, || time.to_string())
    })
    .await;
    refused(late.join(&token_of(&short)), &["expired", "token create"]);
    assert!(!late.file("node.toml").exists());
}

#[tokio::test]
async fn an_address_that_another_node_has_uses_up_no_token() {
    let (home, joining, other) = (Home::founded().await, Home::new(), Home::new());
    let token = token_of(&home.token(&[]));
    let taken = |of: &Home, node: u64, token: &str| {
        for (peer, http) in [(of.peer, other.address), (other.peer, of.address)] {
            let mut posing = Home::new();
            (posing.peer, posing.address) = (peer, http);
            let address = if peer == of.peer { peer } else { http };
            let has = format!("node {node} has the address {address} already");
            refused(posing.join(token), &[&has, &format!("cluster remove {node}")]);
            assert!(!posing.file("tls/ca.key").exists());
        }
    };
    // The first node came by no token.
    taken(&home, 1, &token);
    assert_eq!(joining.join(&token).expect(0).json()["node_id"], 2);
    let next = token_of(&home.token(&[]));
    taken(&joining, 2, &next);
    eventually(PATIENCE, "the new node is a member", async || {
        let status = home.http.get("/v1/cluster/status").await.expect(200).json();
        let nodes = status["nodes"].as_array().unwrap().len();
        holds(nodes == 2, || status.to_string())
    })
    .await;
    taken(&joining, 2, &next);
    // Its own address is in nobody's way.
    fs::remove_file(joining.file("node.toml")).unwrap();
    assert_eq!(joining.join(&token).expect(0).json()["node_id"], 2);
    assert_eq!(other.join(&next).expect(0).json()["node_id"], 3);
}

#[tokio::test]
async fn a_node_takes_the_place_of_another() {
    let (home, mut old, mut new) = (Home::founded().await, Home::new(), Home::new());
    let _ = old.join(&token_of(&home.token(&[]))).expect(0);
    old.start();
    old.await_ready().await;
    let voters = async || {
        let status = home.http.get("/v1/cluster/status").await.expect(200).json();
        let nodes = status["nodes"].as_array().unwrap().clone();
        let voters = nodes.iter().filter(|node| node["voter"] == true);
        voters.map(|node| node["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    eventually(PATIENCE, "both vote", async || {
        let voters = voters().await;
        holds(voters == [1, 2], || format!("{voters:?}"))
    })
    .await;
    let _ = new.join(&token_of(&home.token(&["--replaces", "2"]))).expect(0);
    new.start();
    new.await_ready().await;
    eventually(PATIENCE, "the new one votes in its place", async || {
        let voters = voters().await;
        holds(voters == [1, 3], || format!("{voters:?}"))
    })
    .await;
}
