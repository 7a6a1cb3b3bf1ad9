//! One HTTP/1.1 connection to one node.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A node's address, and the connection to it while there is one.
pub struct Wire {
    address: SocketAddr,
    open: Option<SendRequest<Full<Bytes>>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Null where the body is empty.
    pub body: Value,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    pub idempotency_key: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing was sent: there was no connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection ended after the request was on its way.
    Cut,
    /// The answer is no JSON.
    Garbled,
}

impl Question {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, idempotency_key: None }
    }

    pub fn post(path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method: Method::POST, path: path.into(), body, idempotency_key: None }
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None, idempotency_key: None }
    }

    #[must_use]
    pub fn keyed(mut self, key: Option<String>) -> Self {
        self.idempotency_key = key;
        self
    }
}

impl Wire {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Asks, and waits no longer than `within`.
    ///
    /// # Errors
    /// [`Broken`] says whether the node can have got the question.
    pub async fn ask(&mut self, question: &Question, within: Duration) -> Result<Answer, Broken> {
        let mut sender = match self.open.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => connect(self.address).await?,
        };
        let request = request(question, self.address).ok_or(Broken::Connect)?;
        let exchange = async {
            // A connection that ended meanwhile has not sent it.
            sender.ready().await.map_err(|_| Broken::Connect)?;
            let response = sender.send_request(request).await.map_err(|_| Broken::Cut)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|_| Broken::Cut)?.to_bytes();
            Ok((status, body))
        };
        let (status, body) = timeout(within, exchange).await.map_err(|_| Broken::Timeout)??;
        self.open = Some(sender);
        answer(status, &body)
    }

    /// Sends the request and ends the connection without waiting for the answer.
    pub async fn send_and_cut(&mut self, question: &Question, after: Duration) -> Broken {
        match self.ask(question, after).await {
            Ok(_) => Broken::Cut,
            Err(broken) => {
                self.open = None;
                broken
            }
        }
    }
}

/// Asks once on a connection of its own.
///
/// # Errors
/// As [`Wire::ask`].
pub async fn ask(
    address: SocketAddr,
    question: &Question,
    within: Duration,
) -> Result<Answer, Broken> {
    Wire::new(address).ask(question, within).await
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Broken> {
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| Broken::Connect)?.map_err(|_| Broken::Connect)?;
    // A request is one small packet; without this it can wait for the last acknowledgement.
    let _ = stream.set_nodelay(true);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|_| Broken::Connect)?;
    // It ends with its sender; what ends it early is seen there.
    tokio::spawn(connection);
    Ok(sender)
}

fn request(question: &Question, address: SocketAddr) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(&question.method)
        .uri(&question.path)
        .header(header::HOST, address.to_string());
    if let Some(key) = &question.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let body = match &question.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from(serde_json::to_vec(body).ok()?)
        }
        None => Bytes::new(),
    };
    request.body(Full::new(body)).ok()
}

fn answer(status: StatusCode, body: &[u8]) -> Result<Answer, Broken> {
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).map_err(|_| Broken::Garbled)?
    };
    Ok(Answer { status: status.as_u16(), body })
}

impl Broken {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Timeout => "TIMEOUT",
            Self::Cut => "CUT",
            Self::Garbled => "GARBLED",
        }
    }

    /// Can the node have got the question?
    pub const fn may_have_arrived(self) -> bool {
        match self {
            Self::Connect => false,
            Self::Timeout | Self::Cut | Self::Garbled => true,
        }
    }
}
