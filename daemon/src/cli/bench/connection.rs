//! A lean HTTP/1.1 connection: the load generator shares its processors with the cluster that it
//! measures, so a request costs it one write and, mostly, one read.

use std::{
    io::{self, ErrorKind, Write},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECT_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A node as the load generator reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Base URL without a slash at the end.
    pub(super) url: String,
    /// `host:port`.
    authority: String,
    /// Path of the base URL.
    prefix: String,
}

/// An open connection to one node.
pub(super) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Status and body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// The node closes the connection after this answer.
    pub(super) last: bool,
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body_bytes: usize,
    last: bool,
}

impl Target {
    /// The node at this base URL.
    pub(super) fn parse(given: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(given).map_err(|error| format!("{given:?}: {error}"))?;
        let (Some(host), "http") = (url.host_str(), url.scheme()) else {
            return Err(format!("{given:?}: expected http://HOST:PORT"));
        };
        Ok(Self {
            authority: format!("{host}:{}", url.port_or_known_default().unwrap_or(80)),
            prefix: url.path().trim_end_matches('/').to_owned(),
            url: url.as_str().trim_end_matches('/').to_owned(),
        })
    }
}

impl Connection {
    pub(super) async fn open(target: &Target) -> io::Result<Self> {
        let connecting = TcpStream::connect(&target.authority);
        let stream = tokio::time::timeout(CONNECT_MAX, connecting).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends a POST without a body and waits for its answer. After an error the connection is of
    /// no more use.
    pub(super) async fn post(&mut self, target: &Target, path: &str) -> io::Result<Answer<'_>> {
        self.request.clear();
        write!(
            self.request,
            "POST {}{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
            target.prefix, target.authority
        )?;
        tokio::time::timeout(ANSWER_MAX, self.exchange()).await?
    }

    async fn exchange(&mut self) -> io::Result<Answer<'_>> {
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let head_bytes = loop {
            if let Some(end) = find(&self.answer, HEAD_END) {
                break end + HEAD_END.len();
            }
            self.read_more().await?;
        };
        let Head { status, body_bytes, last } = parse_head(&self.answer[..head_bytes])?;
        let whole = head_bytes.saturating_add(body_bytes);
        if ANSWER_BYTES_MAX < whole {
            return Err(invalid("the answer is too large"));
        }
        while self.answer.len() < whole {
            self.read_more().await?;
        }
        Ok(Answer { status, body: &self.answer[head_bytes..whole], last })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        if ANSWER_BYTES_MAX < self.answer.len() {
            return Err(invalid("the answer is too large"));
        }
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse_head(head: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(head).map_err(|_| invalid("the head is no text"))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("the first line has no status"))?;
    let mut head = Head { status, body_bytes: 0, last: false };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value.parse().map_err(|_| invalid("the length is no number"))?;
        } else if name.eq_ignore_ascii_case("connection") {
            head.last = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("the body has no length"));
        }
    }
    Ok(head)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn base_urls_are_taken_apart() {
        let target = Target::parse("http://127.0.0.1:3000/").unwrap();
        assert_eq!(target.url, "http://127.0.0.1:3000");
        assert_eq!((target.authority.as_str(), target.prefix.as_str()), ("127.0.0.1:3000", ""));
        let target = Target::parse("http://example.org/kairos").unwrap();
        assert_eq!(target.authority, "example.org:80");
        assert_eq!(target.prefix, "/kairos");
        for given in ["https://example.org", "127.0.0.1:3000", "nonsense"] {
            assert!(Target::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn heads_are_read_and_nonsense_refused() {
        let head = |status, body_bytes, last| Some(Head { status, body_bytes, last });
        let table = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n", head(200, 12, false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", head(204, 0, false)),
            (
                "HTTP/1.1 503 No\r\nConnection: Close\r\nContent-Length:1\r\n\r\n",
                head(503, 1, true),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", None),
            ("SPDY 200\r\n\r\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_head(text.as_bytes()).ok(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn answers_that_come_in_pieces_are_put_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let node = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while find(&request, HEAD_END).is_none() {
                stream.read_buf(&mut request).await.unwrap();
            }
            for piece in ["HTTP/1.1 409 Conf", "lict\r\nContent-Length: 4\r\n", "\r\nab", "cd"] {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            String::from_utf8(request).unwrap()
        });
        let target = Target::parse(&url).unwrap();
        let mut connection = Connection::open(&target).await.unwrap();
        let answer = connection.post(&target, "/v1/x").await.unwrap();
        assert_eq!(answer, Answer { status: 409, body: b"abcd", last: false });
        assert!(node.await.unwrap().starts_with("POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:"));
        let error = connection.post(&target, "/v1/x").await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::InvalidData);
    }
}
