//! Accepts connections and serves them within bounds: their number, the size of heads, the time
//! that a head may take, and the time that stopping may take.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use synckairos_protocol::error::Kind;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AppState,
    edge::{self, Arrival},
    error::ApiError,
    reply::Reply,
};

/// Room for the head of a request, as in v2.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 100;
/// How long to wait after the system has refused to accept, for lack of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The whole answer to a connection that there is no room for.
static FULL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let message = "this node holds as many connections as it may; ask another node";
    let body = Reply::from(ApiError::new(Kind::Overloaded, message)).body;
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
});

/// Serves clients until `stopping` is cancelled and the requests under way are answered, or the
/// grace of the settings is over.
pub(crate) async fn serve(listener: TcpListener, state: AppState, stopping: CancellationToken) {
    let state = Arc::new(state);
    let settings = &state.settings;
    let room = Arc::new(Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    // Cancelled once the grace is over, for connections that would not end by themselves.
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Some((stream, client)) = admitted(accepted).await else { continue };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            state.metrics.connection_refused();
            // Whoever cannot take these few bytes at once is no client that would read them.
            let _ = stream.try_write(&FULL);
            continue;
        };
        let cut = cut.child_token();
        let arrival = Arrival {
            client,
            stopping: stopping.clone(),
            cut: cut.clone(),
            sockets: connections.clone(),
            permit: Arc::new(permit),
        };
        let connection = connection(stream, Arc::clone(&state), arrival, stopping.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    let grace = settings.shutdown_grace();
    if timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(grace_ms = settings.shutdown_grace_ms, "connections were cut at shutdown");
        cut.cancel();
    }
}

async fn admitted(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<(TcpStream, IpAddr)> {
    match accepted {
        Ok((stream, address)) => {
            // Answers are small and whole: waiting to fill a packet only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            Some((stream, address.ip()))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection until its client goes, or until `stopping` and the answer under way.
async fn connection(
    stream: TcpStream,
    state: Arc<AppState>,
    arrival: Arrival,
    stopping: CancellationToken,
) {
    let header_read_timeout = state.settings.header_read_timeout();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (state, arrival) = (Arc::clone(&state), arrival.clone());
        async move {
            let request = request.map(Body::new);
            Ok::<_, Infallible>(edge::handle(state, arrival, request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // A connection that failed has no one left to be told.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Held by a connection, and by the WebSocket that it becomes.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;
