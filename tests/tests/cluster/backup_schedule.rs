//! Backups that nodes make by themselves: how many are kept, what is left alone, and what is told
//! when one fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use synckairos_tests::{
    certificates,
    cluster::{Cluster, Plan, set},
    command_line, load,
    node::{Node, path_text},
    sessions::{number, text},
    wait::{PATIENCE, eventually, holds, throughout},
};
use tempfile::TempDir;
use toml::{Table, Value};

const KEPT: usize = 2;
const MIB: u64 = 1024 * 1024;

fn plan(nodes: u64, directory: &Path) -> Plan {
    Plan::of(nodes)
        .set("backup.directory", path_text(directory))
        .set("backup.interval_seconds", 1)
        .set("backup.keep", i64::try_from(KEPT).unwrap())
}

/// Backups of `node`, oldest first.
fn made(directory: &Path, cluster: &Cluster, node: &Node) -> Vec<PathBuf> {
    let begin = format!("synckairos-{}-node{}-", cluster.id, node.id);
    let mut files: Vec<PathBuf> = files(directory);
    files.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&begin) && name.ends_with(".backup")
    });
    files
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files
}

/// Waits until a backup was made that was not among `known`, and none is left beyond those kept.
async fn await_another(
    directory: &Path,
    cluster: &Cluster,
    node: &Node,
    known: &[PathBuf],
) -> Vec<PathBuf> {
    eventually(PATIENCE, "another backup is made and the oldest is removed", async || {
        let made = made(directory, cluster, node);
        let newest = made.last().ok_or("none")?;
        let is_new = !known.contains(newest) && KEPT == made.len();
        holds(is_new, || format!("{made:?}"))?;
        Ok(made)
    })
    .await
}

fn rewrite(node: &Node, key: &str, value: impl Into<Value>) {
    let text = fs::read_to_string(node.config_file()).unwrap();
    let mut config: Table = toml::from_str(&text).unwrap();
    set(&mut config, key, value.into());
    certificates::write(&node.config_file(), &config.to_string());
}

async fn stop(node: &Node) {
    node.terminate();
    assert!(node.await_end().await.success(), "{}", node.last_log_line());
}

#[tokio::test]
async fn as_many_are_kept_as_asked_and_nothing_else_is_touched() {
    let place = TempDir::new().unwrap();
    let directory = place.path();
    let cluster = plan(1, directory).prepare().await;
    let (node, id) = (&cluster.nodes[0], &cluster.id);
    let other = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let foreign = [
        format!("synckairos-{other}-node1-20200131T080000Z-r1.backup"),
        format!("synckairos-{other}-node1-20200131T080000Z.part"),
        format!("synckairos-{id}-node2-20200131T080000Z-r1.backup"),
        format!("synckairos-{id}-node1-20200131T080000Z-r1.backup.keep"),
        format!("copy-of-synckairos-{id}-node1-20200131T080000Z-r1.backup"),
        String::from("notes.txt"),
    ];
    for name in &foreign {
        fs::write(directory.join(name), "not for the node").unwrap();
    }
    let own = ["20200131T080000Z.part", "20200131T080000Z-r1.backup"];
    let own = own.map(|rest| directory.join(format!("synckairos-{id}-node1-{rest}")));
    own.iter().for_each(|path| fs::write(path, "its own, long ago").unwrap());

    node.start();
    node.await_ready().await;
    let session = load::running_session(&node.http).await;
    let mut known = Vec::new();
    for _ in 0..3 {
        let _ = node.http.command(&session, "switch").await.expect(200);
        known = await_another(directory, &cluster, node, &known).await;
    }
    own.iter().for_each(|path| assert!(!path.exists(), "{}", path.display()));
    for name in &foreign {
        assert_eq!(fs::read(directory.join(name)).unwrap(), b"not for the node", "{name}");
    }
    let newest = known.last().unwrap();
    let shown = command_line::run(&["backup", "verify", path_text(newest), "-o", "json"]);
    let shown = shown.expect(0).json();
    assert_eq!((text(&shown["cluster_id"]), number(&shown["node"])), (id.clone(), 1));
    assert_eq!(number(&shown["sessions"]), 1);
    let revision = format!("-r{}.backup", number(&shown["revision"]));
    assert!(path_text(newest).ends_with(&revision), "{shown}");
    stop(node).await;
    let unfinished =
        files(directory).into_iter().filter(|path| path_text(path).ends_with("Z.part"));
    assert_eq!(unfinished.count(), 1, "the foreign one: {:?}", files(directory));
}

#[tokio::test]
async fn a_restart_neither_repeats_nor_shifts_them() {
    let place = TempDir::new().unwrap();
    let cluster = plan(1, place.path()).start().await;
    let node = &cluster.nodes[0];
    await_another(place.path(), &cluster, node, &[]).await;
    stop(node).await;
    let before = made(place.path(), &cluster, node);

    rewrite(node, "backup.interval_seconds", 3_600);
    node.start();
    node.await_ready().await;
    eventually(PATIENCE, "it knows of the newest one", async || {
        let told = node.http.metric("synckairos_backup_last_success_timestamp_seconds").await;
        holds(0.0 < told, || told.to_string())
    })
    .await;
    let size = node.http.metric("synckairos_backup_last_size_bytes").await;
    let newest = before.last().unwrap();
    assert_eq!(size.to_string(), fs::metadata(newest).unwrap().len().to_string());
    assert!((node.http.metric("synckairos_backup_interval_seconds").await - 3_600.0).abs() < 0.1);
    throughout(Duration::from_secs(2), async || {
        assert_eq!(made(place.path(), &cluster, node), before, "the next one is due in an hour");
    })
    .await;
    stop(node).await;

    rewrite(node, "backup.interval_seconds", 1);
    node.start();
    await_another(place.path(), &cluster, node, &before).await;
}

#[tokio::test]
async fn every_node_makes_its_own_and_failures_are_told() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("backups");
    fs::create_dir(&directory).unwrap();
    let cluster = plan(3, &directory).start().await;
    for node in &cluster.nodes {
        await_another(&directory, &cluster, node, &[]).await;
    }
    let node = &cluster.nodes[1];
    let away = place.path().join("away");
    fs::rename(&directory, &away).unwrap();
    eventually(PATIENCE, "the node says that its backups fail", async || {
        let failed = node.http.metric("synckairos_backup_failures_total").await;
        holds(0.0 < failed, || failed.to_string())?;
        let warnings = warnings_of(&cluster, node).await;
        let told = warnings.contains("scheduled backup failed") && warnings.contains("backups");
        holds(told, || warnings.clone())
    })
    .await;
    fs::rename(&away, &directory).unwrap();
    eventually(PATIENCE, "all is well again", async || {
        let warnings = warnings_of(&cluster, node).await;
        holds(!warnings.contains("backup"), || warnings.clone())
    })
    .await;
}

/// What the cluster's status says of this node.
async fn warnings_of(cluster: &Cluster, node: &Node) -> String {
    let status = cluster.http().get("/v1/cluster/status").await.expect(200).json();
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|one| one["id"] == node.id).unwrap()["warnings"].to_string()
}

#[tokio::test]
async fn a_disk_is_not_filled_with_backups() {
    let (disk_bytes, low_bytes, min_bytes) = (384 * MIB, 72 * MIB, 96 * MIB);
    let cluster = Plan::of(3)
        .set("disk.free_min_bytes", i64::try_from(min_bytes).unwrap())
        .set("http.access_log", false)
        .prepare()
        .await;
    let node = cluster.node(3);
    let disk = node.on_small_disk(disk_bytes).await;
    let inside = disk.inside().join("backups");
    fs::create_dir(&inside).unwrap();
    let directory = node.data_dir().join("backups");
    rewrite(node, "backup.directory", path_text(&directory));
    rewrite(node, "backup.interval_seconds", 1);
    rewrite(node, "backup.keep", i64::try_from(KEPT).unwrap());
    cluster.nodes.iter().for_each(Node::start);
    cluster.await_ready().await;
    await_another(&inside, &cluster, node, &[]).await;

    disk.fill(low_bytes);
    let failed = eventually(PATIENCE, "a backup is not made", async || {
        let failed = node.http.metric("synckairos_backup_failures_total").await;
        holds(0.0 < failed, || failed.to_string())?;
        let warnings = warnings_of(&cluster, node).await;
        holds(warnings.contains("a backup needs"), || warnings.clone())?;
        Ok(made(&inside, &cluster, node))
    })
    .await;
    let _ = node.http.get("/ready").await.expect(200);
    disk.clear();
    await_another(&inside, &cluster, node, &failed).await;
}
