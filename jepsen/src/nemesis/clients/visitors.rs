//! What each one of a crowd does, again and again.

use std::{io, time::Duration};

use futures_util::SinkExt;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{client_async, tungstenite::Message};

use super::{
    ACCEPTED, Crowd, ENDED,
    junk::{self, Junk},
};
use crate::client::http::{self, Question};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const AFTER_REFUSAL: Duration = Duration::from_millis(200);
const BETWEEN_JUNK: Duration = Duration::from_millis(20);
/// One that answers junk does so at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Between two bytes of a request that never ends.
const DAWDLE_MS: std::ops::RangeInclusive<u64> = 30..=300;
/// So that the node's side has to wait soon.
const DEAF_BUFFER: u32 = 4 << 10;
const DEAF_SAYS_EVERY: Duration = Duration::from_secs(1);
/// One in so many listens to an event stream instead.
const STREAMS_EVERY: u64 = 4;
const ASK_WITHIN: Duration = Duration::from_secs(2);

impl Crowd {
    /// Connects and says nothing.
    pub(super) async fn sit(self) {
        loop {
            let Some(mut stream) = self.connect().await else { continue };
            let _ = stream.read(&mut [0; 512]).await;
            self.seen.count(ENDED);
        }
    }

    /// Begins a request, byte by byte, and never ends it.
    pub(super) async fn dawdle(self, mut random: ChaCha8Rng) {
        loop {
            let Some(stream) = self.connect().await else { continue };
            let (mut reader, mut writer) = stream.into_split();
            let request = junk::endless(&mut random);
            let writing = async {
                for byte in request {
                    if writer.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(random.random_range(DAWDLE_MS))).await;
                }
            };
            let mut told = Vec::new();
            tokio::select! {
                () = writing => {}
                _ = reader.read_to_end(&mut told) => {}
            }
            self.note_end(&told);
        }
    }

    /// Sends what is no request, or one that no node can take.
    pub(super) async fn babble(self, mut random: ChaCha8Rng) {
        loop {
            let Some(mut stream) = self.connect().await else { continue };
            let junk = Junk::draw(&mut random);
            let mut told = Vec::new();
            let _ = timeout(ANSWER_WITHIN, send(&mut stream, &junk, &mut told)).await;
            self.note_end(&told);
            sleep(BETWEEN_JUNK).await;
        }
    }

    /// Asks for everything that ever happened, and reads nothing of it.
    pub(super) async fn hear_nothing(self, number: u64) {
        loop {
            let sessions = self.sessions().await;
            let Some(stream) = self.connect().await else { continue };
            let ended = if number.is_multiple_of(STREAMS_EVERY) {
                let session = sessions.first().map_or("", String::as_str);
                self.deaf_stream(stream, session).await
            } else {
                self.deaf_socket(stream, &sessions).await
            };
            if ended.is_err() {
                self.seen.count(ENDED);
            }
        }
    }

    async fn deaf_stream(&self, mut stream: TcpStream, session: &str) -> io::Result<()> {
        let head = format!(
            "GET /v1/sessions/{session}/events HTTP/1.1\r\nhost: node\r\nlast-event-id: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        loop {
            // Only one who writes learns that nobody is there any more.
            sleep(DEAF_SAYS_EVERY).await;
            stream.write_all(b"\r\n").await?;
        }
    }

    async fn deaf_socket(&self, stream: TcpStream, sessions: &[String]) -> io::Result<()> {
        let url = format!("ws://{}/ws?sessionId={}&since=0", self.address, junk::NOBODY);
        let opened = timeout(CONNECT_WITHIN, client_async(url, stream)).await;
        let (mut socket, _) = opened.map_err(io::Error::other)?.map_err(io::Error::other)?;
        loop {
            // Again and again from the beginning, so that there is always something to send.
            for session in sessions {
                let message = json!({"type": "SUBSCRIBE", "sessionId": session, "since": 0});
                let said = socket.send(Message::text(message.to_string()));
                // A node that does not get rid of its words takes none, either.
                match timeout(DEAF_SAYS_EVERY, said).await {
                    Ok(result) => result.map_err(io::Error::other)?,
                    Err(_) => self.seen.count("words_not_taken"),
                }
            }
            sleep(DEAF_SAYS_EVERY).await;
        }
    }

    async fn connect(&self) -> Option<TcpStream> {
        match timeout(CONNECT_WITHIN, self.open()).await {
            Ok(Ok(stream)) => {
                self.seen.count(ACCEPTED);
                Some(stream)
            }
            Ok(Err(_)) | Err(_) => {
                self.seen.count("refused");
                sleep(AFTER_REFUSAL).await;
                None
            }
        }
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let socket =
            if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_recv_buffer_size(DEAF_BUFFER)?;
        socket.connect(self.address).await
    }

    /// Sessions that there are: those on the first page.
    async fn sessions(&self) -> Vec<String> {
        let question = Question::get("/v1/sessions?limit=100");
        let Ok(answer) = http::ask(self.address, &question, ASK_WITHIN).await else {
            return Vec::new();
        };
        let states = answer.body["data"].as_array().into_iter().flatten();
        states.filter_map(|state| state["session_id"].as_str().map(str::to_owned)).collect()
    }

    /// How the node ended a connection: by its status, where it answered.
    fn note_end(&self, told: &[u8]) {
        self.seen.count(ENDED);
        let status = told.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        match status.and_then(|status| std::str::from_utf8(status).ok()) {
            Some(status) => self.seen.count(&format!("answered_{status}")),
            None => self.seen.count("not_answered"),
        }
    }
}

async fn send(stream: &mut TcpStream, junk: &Junk, told: &mut Vec<u8>) -> io::Result<()> {
    if junk.after_upgrade {
        stream.write_all(junk::UPGRADE.as_bytes()).await?;
        let mut answer = [0; 1024];
        let _ = stream.read(&mut answer).await?;
    }
    // A node that has heard enough does not hear the rest.
    let _ = stream.write_all(&junk.bytes).await;
    stream.read_to_end(told).await.map(|_| ())
}
