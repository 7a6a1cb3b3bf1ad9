//! A plain reader of an event stream that shows every event.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::{http::Http, wait::PATIENCE};

/// A stream outlives every other request.
const STREAM_MAX: Duration = Duration::from_secs(180);

pub struct Events {
    response: Response,
    pending: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

impl Events {
    /// `/v1/sessions/{session}/events` with this query, question mark and all.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn open(http: &Http, session: &str, query: &str) -> Self {
        Self::open_after(http, session, query, None).await
    }

    /// As `open`, coming back after the event of this id.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn open_after(http: &Http, session: &str, query: &str, last: Option<&str>) -> Self {
        let path = format!("/v1/sessions/{session}/events{query}");
        let mut request = http.request(Method::GET, &path).timeout(STREAM_MAX);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        let kind = response.headers()["content-type"].to_str().expect("plain text");
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        Self { response, pending: Vec::new() }
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Panics
    /// Where neither comes, or what comes is none.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                match parse(std::str::from_utf8(&block).expect("events are text")) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("something comes");
            // A connection that was cut ends the stream too.
            match chunk {
                Ok(Some(bytes)) => self.pending.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next event, which must be of this name.
    ///
    /// # Panics
    /// Where it is another.
    pub async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.name, name, "{event:?}");
        assert_eq!(event.data["type"], name, "the same message as on a WebSocket");
        event
    }
}

/// `None` for comments and settings.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(String::from))
    };
    let data = field("data")?;
    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}"));
    Some(Event { id: field("id"), name: field("event").expect("events have names"), data })
}
