//! A disk that fills up, and one that lies: the node says what is wrong, the cluster goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    load::{self, Load, Tally},
    node::Node,
    sessions::text,
    small_disk::SmallDisk,
    wait::{PATIENCE, eventually, holds, throughout},
};

const MIB: u64 = 1024 * 1024;
const DISK_BYTES: u64 = 384 * MIB;
const FREE_MIN_BYTES: u64 = 96 * MIB;
/// Between the bound and half of it.
const LOW_BYTES: u64 = 72 * MIB;
/// Below half of the bound.
const EXHAUSTED_BYTES: u64 = 36 * MIB;
const SETTLED: Duration = Duration::from_millis(700);

fn plan(nodes: u64) -> Plan {
    let min = i64::try_from(FREE_MIN_BYTES).unwrap();
    Plan::of(nodes).set("disk.free_min_bytes", min).set("http.access_log", false)
}

/// A cluster that runs, with node `id` on a small disk.
async fn with_small_disk(plan: Plan, id: u64) -> (Cluster, Arc<SmallDisk>) {
    let cluster = plan.prepare().await;
    let disk = cluster.node(id).on_small_disk(DISK_BYTES).await;
    for node in &cluster.nodes {
        node.start();
    }
    cluster.await_ready().await;
    (cluster, disk)
}

async fn await_room(node: &Node, room: f64) {
    let what = format!("node {} sees the room on its disk", node.id);
    eventually(PATIENCE, &what, async || {
        let low = node.http.metric("synckairos_disk_low").await;
        holds((low - room).abs() < 0.1, || format!("synckairos_disk_low is {low}"))
    })
    .await;
}

async fn await_health(http: &Http, health: &str) {
    eventually(PATIENCE, &format!("the cluster is {health}"), async || {
        let status = http.get("/v1/cluster/status").await.expect(200).json();
        holds(status["health"] == health, || status.to_string())
    })
    .await;
}

/// Leads the cluster to having `id` as its leader.
async fn make_leader(cluster: &Cluster, id: u64) {
    eventually(PATIENCE, &format!("node {id} leads"), async || {
        let leader = cluster.leader().await;
        if leader.id == id {
            return Ok(());
        }
        leader.terminate();
        leader.await_end().await;
        leader.start();
        leader.await_ready().await;
        Err(format!("node {} led", leader.id))
    })
    .await;
}

/// Everybody was served, and what was acknowledged is on every node.
async fn nothing_was_lost(cluster: &Cluster, tallies: &[Tally]) {
    for tally in tallies {
        assert!(!tally.acknowledged.is_empty(), "{tally:?}");
        for node in &cluster.nodes {
            tally.check(&node.http.state(&tally.session).await);
        }
    }
}

#[tokio::test]
async fn a_follower_whose_disk_fills_up_steps_aside_and_comes_back() {
    let (cluster, disk) = with_small_disk(plan(3), 2).await;
    let full = cluster.node(2);
    if cluster.leader().await.id == full.id {
        make_leader(&cluster, 1).await;
    }
    let others: Vec<&Http> = [1, 3].map(|id| &cluster.node(id).http).to_vec();
    let load = Load::start(&others, 4).await;

    disk.fill(LOW_BYTES);
    await_room(full, 1.0).await;
    let _ = full.http.get("/ready").await.expect(200);
    await_health(&full.http, "HEALTHY").await;

    disk.fill(EXHAUSTED_BYTES);
    await_room(full, 2.0).await;
    let ready = full.http.get("/ready").await.expect(503).json();
    let told = text(&ready["error"]);
    for words in ["bytes free", "make room", &full.data_dir().display().to_string()] {
        assert!(told.contains(words), "{words:?} in {told:?}");
    }
    await_health(others[0], "DEGRADED").await;
    takes_no_entries(full, &disk).await;
    cannot_answer_for_what_it_has_not(&cluster, full).await;

    disk.clear();
    await_room(full, 0.0).await;
    full.await_ready().await;
    cluster.await_caught_up(full, PATIENCE).await;
    await_health(others[0], "HEALTHY").await;
    let tallies = load.stop().await;
    for tally in &tallies {
        assert_eq!((&tally.unknown, &tally.refused), (&Vec::new(), &Vec::new()), "all served");
    }
    cluster.await_caught_up(full, PATIENCE).await;
    nothing_was_lost(&cluster, &tallies).await;
    assert!(full.runs() && full.log().contains("the disk has room again"));
}

/// While others append, its disk does not fill any more.
async fn takes_no_entries(full: &Node, disk: &SmallDisk) {
    let applied = async || full.http.node().await.unwrap()["applied"].as_u64().unwrap();
    let (mut before, mut since) = (applied().await, Instant::now());
    eventually(PATIENCE, "it takes no more entries", async || {
        let now = applied().await;
        // What it has may be known to be committed only with the next heartbeat.
        if std::mem::replace(&mut before, now) != now {
            since = Instant::now();
        }
        holds(SETTLED < since.elapsed(), || format!("applied {now}"))
    })
    .await;
    let (applied_then, free_then) = (applied().await, disk.free_bytes());
    throughout(Duration::from_secs(1), async || {
        assert_eq!(applied().await, applied_then);
    })
    .await;
    let used = free_then.saturating_sub(disk.free_bytes());
    assert!(used < MIB, "{used} bytes were written");
}

async fn cannot_answer_for_what_it_has_not(cluster: &Cluster, full: &Node) {
    let session = load::running_session(&cluster.node(1).http).await;
    let refused = full.http.session(&session).await.expect(503);
    assert_eq!(refused.kind(), "STORAGE_UNAVAILABLE");
    assert_eq!(refused.error()["effect"], "none");
    // What it passes on is done elsewhere.
    let _ = full.http.command(&session, "switch").await.expect(200);
}

#[tokio::test]
async fn a_leader_whose_disk_fills_up_lets_another_lead() {
    let (cluster, disk) = with_small_disk(plan(3), 1).await;
    make_leader(&cluster, 1).await;
    let full = cluster.node(1);
    let all: Vec<&Http> = cluster.nodes.iter().map(|node| &node.http).collect();
    let load = Load::start(&all, 3).await;

    disk.fill(LOW_BYTES);
    await_room(full, 1.0).await;
    let successor = eventually(PATIENCE, "another node leads", async || {
        let leader = cluster.leader().await;
        if leader.id == full.id { Err(String::from("it leads still")) } else { Ok(leader) }
    })
    .await;
    let mut tallies = load.stop().await;
    // It does not stand for election either, while somebody else can, who has every entry.
    let third = third(&cluster, &[full, successor]);
    cluster.await_caught_up(third, PATIENCE).await;
    successor.kill();
    assert_eq!(cluster.leader_of(&[full.id, third.id]).await.id, third.id);
    let load = Load::start(&[&full.http, &third.http], 3).await;
    successor.start();
    successor.await_ready().await;

    disk.clear();
    await_room(full, 0.0).await;
    tallies.extend(load.stop().await);
    for node in &cluster.nodes {
        cluster.await_caught_up(node, PATIENCE).await;
    }
    nothing_was_lost(&cluster, &tallies).await;
}

#[tokio::test]
async fn a_node_without_room_leads_until_others_have_what_only_it_has() {
    let (cluster, disk) = with_small_disk(plan(3).with_links(), 1).await;
    let full = cluster.node(1);
    disk.fill(LOW_BYTES);
    await_room(full, 1.0).await;
    let leader = eventually(PATIENCE, "another node leads", async || {
        let leader = cluster.leader().await;
        holds(leader.id != full.id, || String::from("it leads still"))?;
        Ok(leader)
    })
    .await;
    let behind = third(&cluster, &[full, leader]);
    let session = load::running_session(&leader.http).await;
    cluster.await_caught_up(behind, PATIENCE).await;
    cluster.links().cut(leader.id, behind.id);
    cluster.links().cut(behind.id, leader.id);
    let _ = leader.http.command(&session, "switch").await.expect(200);
    let switched = leader.http.state(&session).await;
    cluster.await_caught_up(full, PATIENCE).await;
    leader.kill();

    eventually(PATIENCE, "the node with room leads", async || {
        let leader = cluster.leader_of(&[full.id, behind.id]).await;
        holds(leader.id == behind.id, || format!("node {} leads", leader.id))
    })
    .await;
    assert_eq!(behind.http.state(&session).await, switched);
    let _ = behind.http.command(&session, "switch").await.expect(200);
    assert!(full.log().contains("a candidate lacks entries that this node has"));
}

fn third<'a>(cluster: &'a Cluster, two: &[&Node]) -> &'a Node {
    cluster.nodes.iter().find(|node| two.iter().all(|one| one.id != node.id)).unwrap()
}

#[tokio::test]
async fn a_node_alone_refuses_changes_and_answers_reads_until_there_is_room() {
    let (cluster, disk) = with_small_disk(plan(1), 1).await;
    let node = &cluster.nodes[0];
    let session = load::running_session(&node.http).await;
    let before = node.http.state(&session).await;
    for (leave_bytes, room) in [(LOW_BYTES, 1.0), (EXHAUSTED_BYTES, 2.0)] {
        disk.fill(leave_bytes);
        await_room(node, room).await;
        let refused = node.http.command(&session, "switch").await.expect(503);
        assert_eq!(refused.kind(), "STORAGE_UNAVAILABLE");
        let error = refused.error();
        assert_eq!((&error["effect"], &error["retryable"]), (&"none".into(), &true.into()));
        assert_eq!(node.http.state(&session).await, before);
        let _ = node.http.get("/ready").await.expect(503);
    }
    disk.clear();
    await_room(node, 0.0).await;
    let _ = node.http.command(&session, "switch").await.expect(200);
    let _ = node.http.get("/ready").await.expect(200);
}

#[tokio::test]
async fn a_node_is_not_started_on_a_full_disk() {
    let (cluster, disk) = with_small_disk(plan(3), 3).await;
    let node = cluster.node(3);
    let session = load::running_session(cluster.http()).await;
    cluster.await_caught_up(node, PATIENCE).await;
    node.kill();
    disk.fill(0);
    node.start();
    assert_eq!(node.await_end().await.code(), Some(74));
    let line = node.last_log_line();
    for words in ["is full", "make room", &node.data_dir().display().to_string()] {
        assert!(line.contains(words), "{words:?} in {line:?}");
    }
    let _ = cluster.node(1).http.command(&session, "switch").await.expect(200);

    disk.clear();
    node.start();
    node.await_ready().await;
    cluster.await_caught_up(node, PATIENCE).await;
    assert_eq!(node.http.state(&session).await, cluster.http().state(&session).await);
}

/// Puts the files of one directory in the place of those of another.
fn replace(directory: &Path, by: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir(directory).unwrap();
    for file in fs::read_dir(by).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
}

/// The newest write-ahead file of a node's log.
fn log_file(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("raft")).unwrap().map(|file| file.unwrap().path());
    let mut logs: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    logs.pop().unwrap()
}

#[tokio::test]
async fn a_flipped_byte_in_a_log_is_noticed_and_the_node_is_replaced_as_it_says() {
    let mut cluster = Plan::of(3).open_to_others().start().await;
    let session = load::running_session(cluster.http()).await;
    let damaged = cluster.followers().await[0];
    cluster.await_caught_up(damaged, PATIENCE).await;
    damaged.kill();
    let (raft, whole) = (damaged.data_dir().join("raft"), tempfile::tempdir().unwrap());
    replace(whole.path(), &raft);
    // Behind the last record lies room that was only set aside.
    let bytes = fs::read(log_file(&damaged.data_dir())).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for share in [0, 20, 50, 80, 99, 100] {
        replace(&raft, whole.path());
        let mut bytes = bytes.clone();
        bytes[written * share / 100] ^= 0x10;
        fs::write(log_file(&damaged.data_dir()), bytes).unwrap();
        // Starting it again does not help.
        for _ in 0..2 {
            damaged.start();
            assert_eq!(damaged.await_end().await.code(), Some(65), "{share} %");
            let line = damaged.last_log_line();
            let command = format!("synckairos cluster replace {}", damaged.id);
            for words in ["do not repair it", &command] {
                assert!(line.contains(words), "{share} %: {words:?} in {line:?}");
            }
        }
    }
    let leader = cluster.leader().await;
    let _ = leader.http.command(&session, "switch").await.expect(200);
    await_health(&leader.http, "DEGRADED").await;

    let damaged = damaged.id;
    assert_eq!(cluster.replace(damaged).await, 4);
    await_health(cluster.http(), "HEALTHY").await;
    for node in &cluster.nodes {
        assert_eq!(node.http.state(&session).await["version"], 3, "node {}", node.id);
    }
}
