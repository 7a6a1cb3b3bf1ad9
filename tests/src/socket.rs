//! A plain WebSocket client that shows every frame.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

use crate::wait::PATIENCE;

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What the server did.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Message(Value),
    Ping,
    Pong,
    /// A close frame.
    Close {
        code: u16,
        reason: String,
    },
    /// The connection ended without a close frame, or after it.
    Gone,
}

impl Socket {
    /// `/ws` with this query, question mark and all.
    ///
    /// # Errors
    /// Why the upgrade was refused.
    pub async fn try_open(address: SocketAddr, path: &str) -> Result<Self, Box<Error>> {
        let (stream, _) = connect_async(format!("ws://{address}{path}")).await.map_err(Box::new)?;
        Ok(Self { stream })
    }

    /// # Panics
    /// Where the upgrade is refused.
    pub async fn open(address: SocketAddr, path: &str) -> Self {
        Self::try_open(address, path).await.expect("the upgrade succeeds")
    }

    /// Watches a session; `CONNECTED` has been received when this returns.
    ///
    /// # Panics
    /// Where the first message is another.
    pub async fn watch(address: SocketAddr, session: &str) -> Self {
        let mut socket = Self::open(address, &format!("/ws?sessionId={session}")).await;
        let first = socket.message().await;
        assert_eq!(first["type"], "CONNECTED", "{first}");
        assert_eq!(first["sessionId"], session, "{first}");
        socket
    }

    /// Goes on after `version`; `CONNECTED` has been received when this returns.
    ///
    /// # Panics
    /// Where the first message is another.
    pub async fn resume(address: SocketAddr, session: &str, version: u64) -> Self {
        let path = format!("/ws?sessionId={session}&since={version}");
        let mut socket = Self::open(address, &path).await;
        let connected = socket.expect("CONNECTED").await;
        assert_eq!(connected["resuming"], true, "{connected}");
        socket
    }

    /// The next frame; `None` where nothing comes `within`.
    pub async fn frame(&mut self, within: Duration) -> Option<Frame> {
        let next = timeout(within, self.stream.next()).await.ok()?;
        Some(match next {
            Some(Ok(Message::Text(text))) => {
                Frame::Message(serde_json::from_str(&text).expect("the server sends JSON"))
            }
            Some(Ok(Message::Ping(_))) => Frame::Ping,
            Some(Ok(Message::Pong(_))) => Frame::Pong,
            Some(Ok(Message::Close(Some(close)))) => {
                Frame::Close { code: close.code.into(), reason: close.reason.to_string() }
            }
            Some(Ok(Message::Close(None) | Message::Binary(_) | Message::Frame(_))) => {
                panic!("the server sends text and closes with a code")
            }
            Some(Err(_)) | None => Frame::Gone,
        })
    }

    /// The next message of the server; pings in between are answered and not shown.
    ///
    /// # Panics
    /// Where there is none.
    pub async fn message(&mut self) -> Value {
        match self.next_but_pings(PATIENCE).await {
            Some(Frame::Message(message)) => message,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The next message, which must be of this type.
    ///
    /// # Panics
    /// Where it is another.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let message = self.message().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// The close code and reason that come next.
    ///
    /// # Panics
    /// Where something else comes.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.next_but_pings(PATIENCE).await {
            Some(Frame::Close { code, reason }) => (code, reason),
            other => panic!("expected a close frame, got {other:?}"),
        }
    }

    /// The next frame that is no ping.
    pub async fn next_but_pings(&mut self, within: Duration) -> Option<Frame> {
        loop {
            match self.frame(within).await {
                Some(Frame::Ping) => {}
                other => return other,
            }
        }
    }

    /// # Panics
    /// Where the connection is gone.
    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("the connection is open");
    }

    /// # Panics
    /// Where the connection is gone.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        let message = Message::binary(bytes.to_vec());
        self.stream.send(message).await.expect("the connection is open");
    }

    /// Shows that everything the server had to say has been said: it answers in order.
    ///
    /// # Panics
    /// Where it had something to say.
    pub async fn expect_silence(&mut self) {
        self.send(r#"{"type":"PING"}"#).await;
        self.expect("PONG").await;
    }
}
