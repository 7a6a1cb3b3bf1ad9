//! `synckairos dev`: a whole cluster with one command.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::Signal;
use serde_json::Value;
use synckairos_tests::{
    binary,
    http::Http,
    load,
    node::path_text,
    ports,
    process::{self, Process, is_running, signal_process},
    sessions::text,
    wait::{PATIENCE, eventually, holds},
};
use tempfile::TempDir;

struct Dev {
    home: TempDir,
    base: u16,
}

impl Dev {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), base: ports::run_of(3).port() }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.home.path().join("stdout")).unwrap_or_default()
    }

    fn noted(&self) -> String {
        fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default()
    }

    fn http(&self, node: u16) -> Http {
        Http::new(format!("127.0.0.1:{}", self.base + node - 1).parse().unwrap())
    }

    /// Runs it until its table is printed.
    async fn start(&self, more: &[&str]) -> Process {
        let (data, base) = (self.data(), self.base.to_string());
        let mut arguments = vec!["dev", "--data-dir", path_text(&data)];
        arguments.extend(["--nodes", "3", "--http-port-base", &base]);
        arguments.extend(more);
        let mut command = process::command(arguments, &self.home.path().join("stderr"));
        command.stdout(fs::File::create(self.home.path().join("stdout")).unwrap());
        let mut running = Process::start(command);
        eventually(PATIENCE, "the table is printed", async || {
            if let Some(status) = running.ended() {
                panic!("it ended: {status}: {}", self.noted());
            }
            holds(self.printed().contains("Try it"), || self.noted())
        })
        .await;
        running
    }

    fn status(&self) -> Value {
        let output = run(&["dev", "status", "--data-dir", path_text(&self.data()), "-o", "json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(binary::path()).args(arguments).env_clear().output().unwrap()
}

fn pid(node: &Value) -> Option<u32> {
    node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

#[tokio::test]
async fn a_cluster_comes_up_survives_a_kill_and_keeps_its_sessions() {
    let dev = Dev::new();
    let mut running = dev.start(&[]).await;
    let table = dev.printed();
    for word in ["http://127.0.0.1:", "leader", "follower", "curl", "/api-docs/"] {
        assert!(table.contains(word), "{word} in {table}");
    }
    let status = dev.status();
    let nodes = status["nodes"].as_array().unwrap().clone();
    assert_eq!(nodes.len(), 3);
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(node["id"], index + 1);
        assert_eq!(text(&node["http"]), format!("127.0.0.1:{}", usize::from(dev.base) + index));
        assert!(pid(node).is_some_and(is_running), "{node}");
    }
    let leaders: Vec<&Value> = nodes.iter().filter(|node| node["role"] == "leader").collect();
    assert_eq!(leaders.len(), 1, "{status}");

    let session = load::running_session(&dev.http(1)).await;
    let killed = leaders[0].clone();
    signal_process(pid(&killed).unwrap(), Signal::KILL);
    eventually(PATIENCE, "the killed node comes back", async || {
        let status = dev.status();
        let nodes = status["nodes"].as_array().unwrap();
        let same = nodes.iter().find(|node| node["id"] == killed["id"]).unwrap();
        let back = pid(same).is_some() && pid(same) != pid(&killed) && same["role"] == "follower";
        holds(back, || status.to_string())
    })
    .await;
    for node in 1..=3 {
        assert_eq!(dev.http(node).state(&session).await["status"], "running");
    }

    let second = run(&["dev", "--data-dir", path_text(&dev.data())]);
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains("a cluster is running in"), "{told}");

    stops_them_all(&dev, &mut running).await;
    let mut running = dev.start(&[]).await;
    assert_eq!(dev.http(2).state(&session).await["status"], "running");
    stops_them_all(&dev, &mut running).await;
    let mut running = dev.start(&["--fresh"]).await;
    let _ = dev.http(3).session(&session).await.expect(404);
    stops_them_all(&dev, &mut running).await;
}

async fn stops_them_all(dev: &Dev, running: &mut Process) {
    let status = dev.status();
    running.signal(Signal::TERM);
    assert!(running.await_end(PATIENCE).await.success(), "{}", dev.noted());
    for node in status["nodes"].as_array().unwrap() {
        assert!(!pid(node).is_some_and(is_running), "{node} still runs");
    }
}

#[tokio::test]
async fn the_nodes_end_with_the_command_whatever_ends_it() {
    let dev = Dev::new();
    let mut running = dev.start(&[]).await;
    let nodes = dev.status()["nodes"].as_array().unwrap().clone();
    running.kill();
    eventually(PATIENCE, "the nodes end", async || {
        let left: Vec<u32> = nodes.iter().filter_map(pid).filter(|pid| is_running(*pid)).collect();
        holds(left.is_empty(), || format!("{left:?} run"))
    })
    .await;
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let theirs = home.path().join("letter.txt");
    fs::write(&theirs, "dear").unwrap();
    for more in [&[][..], &["--fresh"][..]] {
        let mut arguments = vec!["dev", "--data-dir", path_text(home.path())];
        arguments.extend(more);
        let refused = run(&arguments);
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("was not made by `synckairos dev`"), "{told}");
    }
    assert!(Path::new(&theirs).exists());
}

#[test]
fn numbers_that_cannot_work_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for (flag, value, word) in
        [("--nodes", "2", "1, 3, 5 or 7"), ("--http-port-base", "65535", "65535")]
    {
        let refused = run(&["dev", "--data-dir", path_text(&data), flag, value]);
        assert_eq!(refused.status.code(), Some(1), "{flag} {value}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(word), "{told}");
    }
}
