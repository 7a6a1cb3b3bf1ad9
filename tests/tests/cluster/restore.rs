//! `synckairos backup verify`, `export` and `restore`: a new cluster with the state of a backup,
//! all of it or nothing, and what its clocks say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use synckairos_tests::{
    cluster::Plan,
    command_line,
    http::Http,
    load,
    node::{Node, path_text},
    restored::Restored,
    sessions::{instant, new_session, number, session_id, with},
    wait::{PATIENCE, eventually, holds, throughout},
};
use tempfile::TempDir;

fn plan(directory: &Path) -> Plan {
    Plan::of(1).set("backup.directory", path_text(directory)).set("backup.interval_seconds", 1)
}

fn verify(file: &Path) -> Value {
    command_line::run(&["backup", "verify", path_text(file), "-o", "json"]).expect(0).json()
}

fn export(arguments: &[&str]) -> String {
    command_line::run(&[&["backup", "export"], arguments].concat()).expect(0).stdout
}

/// Waits until there is a backup of all that `node` has applied by now.
async fn backup_of(node: &Node, directory: &Path) -> PathBuf {
    let applied = number(&node.http.node().await.unwrap()["applied"]);
    eventually(PATIENCE, "there is a backup of all that was applied", async || {
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        let whole = files.filter(|path| path.extension().is_some_and(|end| end == "backup"));
        let newest = whole.max().ok_or("none yet")?;
        let revision = number(&verify(&newest)["revision"]);
        holds(applied <= revision, || format!("{revision}, not {applied}"))?;
        Ok(newest)
    })
    .await
}

/// A session with this bank that runs and ends with it.
async fn running(http: &Http, bank_ms: u64, on_outage: &str) -> (String, Value) {
    let body = new_session("per_participant", &[bank_ms, bank_ms]);
    let body = with(body, "on_timeout", json!({"type": "end_session"}));
    let body = with(body, "on_outage", on_outage);
    let id = session_id(&body);
    let _ = http.create(&body).await.expect(201);
    (id.clone(), http.command(&id, "start").await.expect(200).data())
}

#[tokio::test]
async fn a_new_cluster_has_the_state_and_nothing_else_of_the_old_one() {
    let place = TempDir::new().unwrap();
    let cluster = plan(place.path()).start().await;
    let old = &cluster.nodes[0];
    let session = load::running_session(&old.http).await;
    let switch = format!("/v1/sessions/{session}/switch");
    let first = old.http.post_keyed(&switch, &Value::Null, "k-1").await.expect(200);
    let pending = new_session("count_up", &[60_000]);
    let _ = old.http.create(&pending).await.expect(201);
    let before = old.http.state(&session).await;
    let file = backup_of(old, place.path()).await;
    let _ = old.http.command(&session, "switch").await.expect(200);
    old.terminate();
    old.await_end().await;

    let target = place.path().join("new");
    let mut new = Restored::from(&file, &target);
    assert_ne!(new.cluster_id, cluster.id);
    let shown = verify(&file);
    for key in ["revision", "sessions", "answers", "cluster_time"] {
        assert_eq!(new.printed[key], shown[key], "{key}");
    }
    // As its first node will begin with it, and as the backup has it.
    let exported = export(&[path_text(&file)]);
    assert_eq!(export(&["--data-dir", path_text(&target)]), exported);
    assert_eq!(exported.lines().count(), 4, "a head, two sessions, an answer: {exported}");
    let head: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!(head["revision"], shown["revision"]);

    new.start(0).await;
    let status = new.http.get("/v1/cluster/status").await.expect(200).json();
    assert_eq!(status["cluster_id"], new.cluster_id.as_str());
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(new.http.state(&session).await, before);
    let again = new.http.post_keyed(&switch, &Value::Null, "k-1").await.expect(200);
    assert_eq!(again.data(), first.data(), "it is a repeat here too");
    assert_eq!(new.http.state(&session).await, before);
    let _ = new.http.command(&session, "switch").await.expect(200);
    let running = command_line::run(&["backup", "export", "--data-dir", path_text(&target)]);
    assert!(running.expect(1).stderr.contains("stop it"));

    // And it lasts.
    let after = new.http.state(&session).await;
    new.kill();
    new.start(0).await;
    assert_eq!(new.http.state(&session).await, after);
}

#[tokio::test]
async fn clocks_are_charged_for_the_gap_or_credited_as_their_session_asked() {
    let place = TempDir::new().unwrap();
    let cluster = plan(place.path()).start().await;
    let old = &cluster.nodes[0];
    let (charged, charged_before) = running(&old.http, 120_000, "charge").await;
    let (frozen, frozen_before) = running(&old.http, 120_000, "freeze").await;
    let (short, short_before) = running(&old.http, 4_000, "charge").await;
    let (saved, saved_before) = running(&old.http, 4_000, "freeze").await;
    let file = backup_of(old, place.path()).await;
    old.kill();
    let stamp = number(&json_of(&file)["cluster_time_ms"]);
    // Until the short ones have run out, by everybody's clock.
    let mut new = Restored::from(&file, &place.path().join("new"));
    throughout(Duration::from_secs(5), async || {}).await;
    new.start(0).await;

    // What was left of them at the backup is what was left when it began again.
    let after = eventually(PATIENCE, "what freezes is credited", async || {
        let state = new.http.state(&frozen).await;
        holds(state["version"] != frozen_before["version"], || state.to_string())?;
        Ok(state)
    })
    .await;
    let credited_ms = number(&after["deadline_ms"]) - number(&frozen_before["deadline_ms"]);
    let until = stamp + credited_ms;
    let now = number(&new.http.get("/v1/time").await.expect(200).json()["timestamp_ms"]);
    assert!(5_000 <= credited_ms && until <= now, "credited {credited_ms} ms, {until} of {now}");
    assert_eq!(after["participants"], frozen_before["participants"], "nothing was charged");
    let saved_after = new.http.state(&saved).await;
    assert_eq!(saved_after["status"], "running", "{saved_after}");
    let credited_alike = number(&saved_before["deadline_ms"]) + credited_ms;
    assert_eq!(number(&saved_after["deadline_ms"]), credited_alike);

    assert_eq!(new.http.state(&charged).await, charged_before, "time is time");
    let expired = eventually(PATIENCE, "what was charged ran out", async || {
        let state = new.http.state(&short).await;
        holds(state["status"] == "expired", || state.to_string())?;
        Ok(state)
    })
    .await;
    assert_eq!(instant(&expired["expired_at"]), number(&short_before["deadline_ms"]));
}

#[tokio::test]
async fn time_never_goes_back_before_the_backup() {
    let place = TempDir::new().unwrap();
    let cluster = plan(place.path()).start().await;
    let old = &cluster.nodes[0];
    let (session, before) = running(&old.http, 120_000, "charge").await;
    let file = backup_of(old, place.path()).await;
    old.kill();
    let stamp = number(&json_of(&file)["cluster_time_ms"]);
    let mut new = Restored::from(&file, &place.path().join("new"));
    new.start(-3_600_000).await;
    let now = number(&new.http.get("/v1/time").await.expect(200).json()["timestamp_ms"]);
    assert!(stamp <= now && now < stamp + 60_000, "{now} after {stamp}");
    assert_eq!(new.http.state(&session).await, before);
    let switched = new.http.command(&session, "switch").await.expect(200).data();
    assert!(stamp <= instant(&switched["cycle_started_at"]), "{switched}");
}

/// The head of its export.
fn json_of(file: &Path) -> Value {
    let exported = export(&[path_text(file)]);
    serde_json::from_str(exported.lines().next().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_damaged_or_in_the_way_changes_nothing() {
    let place = TempDir::new().unwrap();
    let cluster = plan(place.path()).start().await;
    let old = &cluster.nodes[0];
    for _ in 0..3 {
        load::running_session(&old.http).await;
    }
    let file = backup_of(old, place.path()).await;
    let work = TempDir::new().unwrap();
    let (damaged, target) = (work.path().join("damaged"), work.path().join("new"));
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&damaged, bytes).unwrap();
        let restore = ["backup", "restore", path_text(&damaged), "--data-dir", path_text(&target)];
        for arguments in [
            &["backup", "verify", path_text(&damaged)][..],
            &["backup", "export", path_text(&damaged)],
            &restore,
        ] {
            let printed = command_line::run(arguments);
            assert_eq!(printed.code, Some(65), "{what}: {printed:?}");
            assert_eq!(printed.stdout, "", "{what}");
            assert!(printed.stderr.contains("another"), "{what}: {printed:?}");
        }
        assert!(!target.exists(), "{what}");
    };
    for position in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        refused(&bytes, &format!("byte {position} of {}", whole.len()));
    }
    refused(&whole[..whole.len() - 1], "the last byte is missing");
    refused(&[whole.as_slice(), &[0]].concat(), "a byte more");
    refused(b"", "nothing");

    let restore = ["backup", "restore", path_text(&file), "--data-dir", path_text(&target)];
    fs::create_dir(&target).unwrap();
    fs::write(target.join("precious"), "data").unwrap();
    let printed = command_line::run(&restore).expect(1);
    assert!(printed.stderr.contains("is not empty"), "{printed:?}");
    assert_eq!(fs::read(target.join("precious")).unwrap(), b"data");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    let missing = work.path().join("missing");
    let printed = command_line::run(&["backup", "verify", path_text(&missing)]).expect(1);
    assert!(printed.stderr.contains("check the path"), "{printed:?}");

    // What an attempt left that was killed is no obstacle.
    fs::remove_file(target.join("precious")).unwrap();
    fs::create_dir_all(target.join("restoring/raft")).unwrap();
    let _ = command_line::run(&restore).expect(0);
    let _ = command_line::run(&restore).expect(1);
}
