//! A cluster of one node that began with a backup.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    certificates, command_line,
    http::Http,
    node::path_text,
    ports,
    process::{self, Process},
    sessions::text,
    wait::{PATIENCE, eventually},
};

pub struct Restored {
    pub cluster_id: String,
    pub address: SocketAddr,
    pub http: Http,
    pub data_dir: PathBuf,
    /// What `backup restore` printed.
    pub printed: Value,
    process: Option<Process>,
}

impl Restored {
    /// Runs `backup restore`; the node does not run yet.
    ///
    /// # Panics
    /// Where it fails.
    pub fn from(backup: &Path, data_dir: &Path) -> Self {
        let (address, peer) = (ports::free(), ports::free());
        let (http, peer) = (address.to_string(), peer.to_string());
        let restore = ["backup", "restore", path_text(backup), "--data-dir", path_text(data_dir)];
        let place = ["--peer", &peer, "--http", &http, "-o", "json"];
        let printed = command_line::run(&[&restore[..], &place].concat()).expect(0).json();
        Self {
            cluster_id: text(&printed["cluster_id"]),
            address,
            http: Http::new(address),
            data_dir: data_dir.to_owned(),
            printed,
            process: None,
        }
    }

    /// Starts it with its wall clock wrong by so much, and waits until it is ready.
    ///
    /// # Panics
    /// Where it runs already, or does not get ready.
    pub async fn start(&mut self, wall_offset_ms: i64) {
        assert!(self.process.is_none(), "it runs");
        let beside = |name: &str| self.data_dir.with_extension(name);
        let (log, clock) = (beside("log"), beside("clock"));
        certificates::write(&clock, &format!("{wall_offset_ms} 0"));
        let config = text(&self.printed["config"]);
        let arguments = ["serve", "--exit-with-parent", "--config", &config];
        let mut command = process::command(arguments, &log);
        command.env("SYNCKAIROS_TEST_CLOCK", clock);
        self.process = Some(Process::start(command));
        eventually(PATIENCE, "the restored node is ready", async || {
            let answer = self.http.try_get("/ready").await.map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }
}
