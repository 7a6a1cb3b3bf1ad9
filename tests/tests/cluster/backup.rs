//! `synckairos backup create`: a running cluster's state at one revision, with everything in it
//! that was acknowledged before, and a new cluster that begins with it, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::io::ioctl_fionread;
use serde_json::{Value, json};
use synckairos_tests::{
    cluster::Plan,
    command_line::{self, Printed},
    http::Http,
    load::{self, Load},
    node::{Node, path_text},
    restored::Restored,
    sessions::{new_id, new_session, number, session_id, with},
    socket::Socket,
    wait::{PATIENCE, eventually, holds, throughout},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Looks at a reader's side that show that nothing moves any more.
const STILL: usize = 25;

/// Runs `synckairos` while this test's load goes on.
async fn run(arguments: &[&str]) -> Printed {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let run = move || {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command_line::run(&words)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// What `backup create` says.
async fn create(data_dir: &Path, file: &Path) -> Value {
    let words = ["backup", "create", path_text(file), "--data-dir", path_text(data_dir)];
    run(&[&words[..], &["-o", "json"]].concat()).await.expect(0).json()
}

async fn export(arguments: &[&str]) -> String {
    run(&[&["backup", "export"], arguments].concat()).await.expect(0).stdout
}

/// All but the head, which tells the revision.
fn rows(export: &str) -> &str {
    export.split_once('\n').unwrap().1
}

/// What a session was at `revision`, as the node that kept its updates tells it.
async fn state_at(node: &Node, session: &str, revision: u64) -> Option<Value> {
    let version = number(&node.http.state(session).await["version"]);
    let mut socket = Socket::resume(node.address, session, 0).await;
    let mut state = None;
    for _ in 0..version {
        let update = socket.expect("STATE_UPDATE").await;
        if revision < number(&update["revision"]) {
            break;
        }
        state = Some(update["state"].clone());
    }
    state
}

/// Sessions that nothing happens to any more, and an answer that is kept for retries.
async fn still_life(http: &Http) -> (Vec<String>, String) {
    let mut sessions = Vec::new();
    for verbs in [&[][..], &["start", "pause"], &["start", "complete"]] {
        let body = new_session("per_participant", &[60_000, 60_000, 60_000]);
        let id = session_id(&body);
        let _ = http.create(&body).await.expect(201);
        for verb in verbs {
            let _ = http.command(&id, verb).await.expect(200);
        }
        sessions.push(id);
    }
    let key = new_id();
    let pause = format!("/v1/sessions/{}/resume", sessions[1]);
    let _ = http.post_keyed(&pause, &Value::Null, &key).await.expect(200);
    (sessions, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_byte_for_byte() {
    let cluster = Plan::of(3).start().await;
    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let (mut sessions, key) = still_life(all[0]).await;
    let load = Load::start(&all, 6).await;
    throughout(Duration::from_secs(1), async || {}).await;
    // A follower has everything that any node acknowledged before.
    let follower = cluster.followers().await[0];
    let marked = load::running_session(all[2]).await;
    let acknowledged = all[1].command(&marked, "switch").await.expect(200).data();
    let file = cluster.scratch("a.backup");
    let shown = create(&follower.data_dir(), &file).await;
    let _ = all[1].command(&marked, "switch").await.expect(200);
    throughout(Duration::from_secs(1), async || {}).await;
    let tallies = load.stop().await;
    assert_eq!(run(&["backup", "verify", path_text(&file), "-o", "json"]).await.json(), shown);
    let text = run(&["backup", "verify", path_text(&file)]).await.expect(0).stdout;
    assert!(text.contains(&format!("a whole backup of cluster {}", cluster.id)), "{text}");

    // The old cluster's own word of what was at that revision.
    let revision = number(&shown["revision"]);
    sessions.push(marked.clone());
    sessions.extend(tallies.iter().map(|tally| tally.session.clone()));
    assert_eq!(number(&shown["sessions"]), u64::try_from(sessions.len()).unwrap());
    let mut then = Vec::new();
    for session in &sessions {
        then.push(state_at(follower, session, revision).await.unwrap());
    }
    let moved_on = tallies.iter().filter(|tally| {
        let at = sessions.iter().position(|session| *session == tally.session).unwrap();
        number(&then[at]["version"]) < tally.version
    });
    assert_eq!(moved_on.count(), tallies.len(), "the load went on meanwhile");
    for tally in &tallies {
        tally.check(&follower.http.state(&tally.session).await);
    }

    let target = cluster.scratch("new");
    let mut new = Restored::from(&file, &target);
    let exported = export(&[path_text(&file)]).await;
    assert_eq!(export(&["--data-dir", path_text(&target)]).await, exported);
    new.start(0).await;
    for (session, then) in sessions.iter().zip(&then) {
        assert_eq!(new.http.state(session).await, *then);
    }
    let at = then.iter().find(|state| state["session_id"] == marked.as_str()).unwrap();
    assert_eq!(at["version"], acknowledged["version"], "acknowledged before, and not after");
    // And from the new cluster while it runs: it has added nothing to what it began with.
    let again = cluster.scratch("b.backup");
    let shown = create(&target, &again).await;
    assert_eq!(shown["cluster_id"], new.cluster_id.as_str());
    assert!(revision < number(&shown["revision"]), "{shown}");
    assert_eq!(rows(&export(&[path_text(&again)]).await), rows(&exported));

    let resume = format!("/v1/sessions/{}/resume", sessions[1]);
    let before = new.http.state(&sessions[1]).await;
    let _ = new.http.post_keyed(&resume, &Value::Null, &key).await.expect(200);
    assert_eq!(new.http.state(&sessions[1]).await, before, "a repeat here too");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_replaced_unasked_and_none_is_left_where_there_is_no_backup() {
    let cluster = Plan::of(3).start().await;
    load::running_session(cluster.http()).await;
    let place = cluster.scratch("backups");
    fs::create_dir(&place).unwrap();
    let (file, node) = (place.join("a.backup"), &cluster.nodes[0]);
    let config = node.config_file();
    let words = ["backup", "create", path_text(&file), "--config", path_text(&config)];
    let printed = run(&words).await.expect(0);
    assert!(printed.stdout.contains("a whole backup of cluster"), "{printed:?}");
    let whole = fs::read(&file).unwrap();
    let printed = run(&words).await.expect(1);
    assert!(printed.stderr.contains("--force"), "{printed:?}");
    assert_eq!(fs::read(&file).unwrap(), whole);
    load::running_session(cluster.http()).await;
    let _ = run(&[&words[..], &["--force"]].concat()).await.expect(0);
    assert_ne!(fs::read(&file).unwrap(), whole);
    let _ = run(&["backup", "verify", path_text(&file)]).await.expect(0);

    // Without a majority nobody knows what was acknowledged.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let other = place.join("b.backup");
    let words = ["backup", "create", path_text(&other), "--config", path_text(&config)];
    let printed = run(&words).await.expect(1);
    assert!(printed.stderr.contains("no leader"), "{printed:?}");
    node.kill();
    let printed = run(&words).await.expect(1);
    assert!(printed.stderr.contains("is the node running?"), "{printed:?}");
    let left: Vec<PathBuf> = fs::read_dir(&place).unwrap().map(|one| one.unwrap().path()).collect();
    assert_eq!(left, [file]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_in_time_while_a_reader_takes_nothing() {
    let cluster = Plan::of(1).start().await;
    let node = &cluster.nodes[0];
    // More than fits into what lies between the node and its reader.
    let metadata = json!({ "note": "x".repeat(15_000) });
    for _ in 0..150 {
        let body = with(new_session("count_up", &[60_000]), "metadata", metadata.clone());
        let _ = node.http.create(&body).await.expect(201);
    }
    let socket = node.data_dir().join("admin.sock");
    let mut reader = UnixStream::connect(socket).await.unwrap();
    let request = "POST /v1/backup HTTP/1.1\r\nhost: node\r\ncontent-length: 0\r\n\r\n";
    reader.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    reader.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    // Until nothing more goes into it.
    let mut seen = Vec::new();
    eventually(PATIENCE, "the node waits for its reader", async || {
        seen.push(ioctl_fionread(&reader).unwrap());
        let last = &seen[seen.len().saturating_sub(STILL)..];
        holds(last.len() == STILL && last[0] == last[STILL - 1], || format!("{last:?}"))
    })
    .await;
    node.terminate();
    assert!(node.await_end().await.success(), "{}", node.last_log_line());
    node.start();
    node.await_ready().await;
}
