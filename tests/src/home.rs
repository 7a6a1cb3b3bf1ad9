//! Nodes whose directory the program lays out itself: `cluster init`, `cluster join`, `serve`.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use data_encoding::BASE64URL_NOPAD;
use rustix::process::Signal;
use serde_json::Value;
use synckairos_protocol::codec::{self, Kind};
use tempfile::TempDir;

use crate::{
    binary,
    command_line::{self, Printed},
    http::Http,
    node::{last_line, path_text},
    ports,
    process::{self, Process},
    wait::{PATIENCE, eventually},
};

/// A node's directory, and the process that serves from it.
pub struct Home {
    directory: TempDir,
    pub peer: SocketAddr,
    pub http: Http,
    pub address: SocketAddr,
    process: Option<Process>,
}

/// What is in a join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub cluster: [u8; 16],
    pub pin: [u8; 32],
    pub nodes: Vec<(u64, String)>,
    pub id: [u8; 16],
    pub secret: [u8; 32],
    pub expires_at_ms: u64,
}

impl Home {
    /// An empty one.
    ///
    /// # Panics
    /// Where no temporary directory can be made.
    #[allow(clippy::new_without_default, reason = "it takes ports")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("synckairos-home-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let (peer, address) = (ports::free(), ports::free());
        Self { directory, peer, http: Http::new(address), address, process: None }
    }

    pub fn dir(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    /// `synckairos cluster init`; what it printed.
    pub fn init(&self) -> Printed {
        let (dir, peer, http) = (self.dir(), self.peer.to_string(), self.address.to_string());
        let command = ["cluster", "init", "--data-dir", path_text(&dir), "-o", "json"];
        command_line::run(&[&command[..], &["--peer", &peer, "--http", &http]].concat())
    }

    /// A cluster of this one node, which is ready.
    ///
    /// # Panics
    /// Where it is not.
    pub async fn founded() -> Self {
        let mut home = Self::new();
        let _ = home.init().expect(0);
        home.start();
        home.await_ready().await;
        home
    }

    /// `synckairos cluster join`; what it printed.
    pub fn join(&self, token: &str) -> Printed {
        let arguments = self.join_arguments(token);
        command_line::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// As `join`, with the token on standard input.
    ///
    /// # Panics
    /// Where the program cannot be run.
    pub fn join_by_stdin(&self, token: &str) -> Printed {
        let mut command = Command::new(binary::path());
        command.args(self.join_arguments("-")).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut stdin = child.stdin.take().expect("it has a standard input");
        writeln!(stdin, "{token}").expect("it reads its token");
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Printed {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    fn join_arguments(&self, token: &str) -> Vec<String> {
        let (peer, http) = (self.peer.to_string(), self.address.to_string());
        let dir = self.dir();
        ["cluster", "join", token, "--data-dir", path_text(&dir), "--peer", &peer]
            .into_iter()
            .chain(["--http", &http, "-o", "json"])
            .map(str::to_owned)
            .collect()
    }

    /// `synckairos cluster token create` on this node; what it printed.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn token(&self, options: &[&str]) -> Value {
        let dir = self.dir();
        let command = ["cluster", "token", "create", "--data-dir", path_text(&dir), "-o", "json"];
        command_line::run(&[&command[..], options].concat()).expect(0).json()
    }

    /// `synckairos serve --data-dir`, and nothing else to tell it who it is.
    ///
    /// # Panics
    /// Where it runs already.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let dir = self.dir();
        let arguments = ["serve", "--exit-with-parent", "--data-dir", path_text(&dir)];
        self.process = Some(Process::start(process::command(arguments, &self.log_file())));
    }

    /// SIGTERM, and the end of the process.
    ///
    /// # Panics
    /// Where it does not end in good order.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(Signal::TERM);
        let status = process.await_end(PATIENCE).await;
        assert!(status.success(), "{status}: {}", last_line(&self.log()));
    }

    /// Waits until `GET /ready` is 200.
    ///
    /// # Panics
    /// Where that does not happen.
    pub async fn await_ready(&mut self) {
        let log = self.log_file();
        let (process, http) = (&mut self.process, &self.http);
        eventually(PATIENCE, "the node is ready", async || {
            if let Some(status) = process.as_mut().and_then(Process::ended) {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("it ended: {status}: {}", last_line(&log));
            }
            match http.try_get("/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("node.log")
    }

    /// A file of the home, by its path in it.
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir().join(path)
    }
}

impl Token {
    /// # Panics
    /// Where the text is no token.
    pub fn read(text: &str) -> Self {
        let encoded = text.strip_prefix("skj1_").expect("tokens say what they are");
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).expect("tokens are base64url");
        let read = codec::decode(Kind::JoinToken, 1, &bytes).expect("tokens are in an envelope");
        let (cluster, pin, nodes, id, secret, expires_at_ms) = read;
        Self { cluster, pin, nodes, id, secret, expires_at_ms }
    }

    /// # Panics
    /// Where its addresses are too long.
    pub fn text(&self) -> String {
        let Self { cluster, pin, nodes, id, secret, expires_at_ms } = self;
        let fields = (cluster, pin, nodes, id, secret, expires_at_ms);
        let bytes = codec::encode(Kind::JoinToken, 1, &fields).expect("tokens are small");
        format!("skj1_{}", BASE64URL_NOPAD.encode(&bytes))
    }
}
