//! A node made of a script: it reads each request whole and does what the script says.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status and JSON.
    Answer(u16, String),
    /// As `Answer`, with `Retry-After`.
    Wait(u16, String, u64),
    /// As `Answer`, with the revision of the membership.
    Told(u16, String, u64),
    /// The connection is closed without an answer.
    Drop,
    /// Nothing is ever answered.
    Hang,
}

pub(crate) struct TestServer {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
    keys: Arc<Mutex<Vec<Option<String>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl TestServer {
    /// `script` is given the number of the request, from 0, and its first line.
    pub(crate) async fn start(
        script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keys = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(script);
        let task = tokio::spawn({
            let (seen, keys) = (Arc::clone(&seen), Arc::clone(&keys));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (seen, keys) = (Arc::clone(&seen), Arc::clone(&keys));
                    let script = Arc::clone(&script);
                    tokio::spawn(async move { converse(stream, &seen, &keys, &*script).await });
                }
            }
        });
        Self { url, seen, keys, task }
    }

    /// The idempotency keys of the requests that arrived.
    pub(crate) fn keys(&self) -> Vec<Option<String>> {
        self.keys.lock().unwrap().clone()
    }

    /// First lines and bodies of the requests that arrived.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A URL where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn converse(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    keys: &Mutex<Vec<Option<String>>>,
    script: &(impl Fn(usize, &str) -> Reply + ?Sized),
) {
    while let Some((line, key, body)) = read_request(&mut stream).await {
        keys.lock().unwrap().push(key);
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(format!("{line} {body}").trim_end().to_owned());
            seen.len() - 1
        };
        let (status, body, header) = match script(number, &line) {
            Reply::Answer(status, body) => (status, body, String::new()),
            Reply::Wait(status, body, seconds) => {
                (status, body, format!("Retry-After: {seconds}\r\n"))
            }
            Reply::Told(status, body, revision) => {
                (status, body, format!("Synckairos-Membership: {revision}\r\n"))
            }
            Reply::Drop => return,
            Reply::Hang => std::future::pending().await,
        };
        let answer = format!(
            "HTTP/1.1 {status} Word\r\n{header}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// First line without the HTTP version, idempotency key, and body.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Option<String>, String)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let header = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length = header("content-length").map_or(0, |value| value.parse::<usize>().unwrap());
    let key = header("idempotency-key");
    while bytes.len() < head_end + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    Some((line, key, String::from_utf8(bytes[head_end..].to_vec()).unwrap()))
}
