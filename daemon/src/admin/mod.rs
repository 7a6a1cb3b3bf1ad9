//! The operators' door: HTTP on a Unix socket in the data directory, for whoever may write there.
//!
//! The client port never takes what is taken here.

pub(crate) mod members;
pub(crate) mod token;
pub(crate) mod upgrade;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use synckairos_protocol::{error::Kind, wire::problem::Problem};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    backup::{Source, stream},
    health::Survey,
    members::{Members, requests::OperatorRefusal},
    pki::ClusterId,
};

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "admin.sock";
/// Of a socket's path, for the kernel.
const PATH_BYTES_MAX: usize = 107;

/// Operators at a time.
const CONNECTIONS_MAX: usize = 64;
/// For requests under way when the node stops.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait after the system has refused to accept, for lack of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What operators may reach.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) cluster: ClusterId,
    pub(crate) survey: Survey,
    pub(crate) members: Members,
    pub(crate) backups: Source,
    /// Of the authority; absent where this node does not hold its key and can let nobody in.
    pub(crate) pin: Option<[u8; 32]>,
}

/// The socket for operators could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(
        "{} is {} bytes long and the path of a socket has at most {PATH_BYTES_MAX}; give \
         node.data_dir a shorter path", path.display(), path.as_os_str().len()
    )]
    TooLong { path: PathBuf },
    #[error("cannot listen for operators on {}: {source}; check who owns the directory", path.display())]
    Socket { path: PathBuf, source: io::Error },
}

/// Opens the socket, in place of one that an earlier process left. The data directory must be ours.
///
/// # Errors
/// [`AdminError`].
pub(crate) fn bind(data_dir: &Path) -> Result<UnixListener, AdminError> {
    let path = data_dir.join(SOCKET);
    if PATH_BYTES_MAX < path.as_os_str().len() {
        return Err(AdminError::TooLong { path });
    }
    let failed = |source| AdminError::Socket { path: path.clone(), source };
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// The sockets below a directory: a node's own, or those of a development cluster's nodes.
pub(crate) fn sockets_in(dir: &Path) -> Vec<PathBuf> {
    let own = dir.join(SOCKET);
    if own.exists() {
        return vec![own];
    }
    let nodes = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = nodes
        .map(|node| node.path().join("data").join(SOCKET))
        .filter(|path| path.exists())
        .collect();
    sockets.sort();
    sockets
}

/// Serves operators until `stopping` is cancelled and the requests under way are answered, or their
/// time is up.
pub(crate) async fn serve(listener: UnixListener, state: AdminState, stopping: CancellationToken) {
    let router = Router::new()
        .route("/v1/cluster/status", get(status))
        .route("/v1/cluster/tokens", post(token::create))
        .route("/v1/cluster/nodes/{node}", delete(members::remove))
        .route("/v1/cluster/leader", post(members::transfer))
        .route("/v1/cluster/step-down", post(members::step_down))
        .route("/v1/cluster/upgrade", get(upgrade::status).post(upgrade::finalize))
        .route("/v1/backup", post(back_up))
        .with_state(state);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(connection(stream, router.clone(), stopping.clone()));
            }
            // Dropped, which closes it.
            Ok(_) => tracing::warn!("more operators at a time than {CONNECTIONS_MAX}"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept an operator");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // What has not ended by then is cut with the set: it would keep the store open.
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!("an operator's request was cut short");
    }
}

async fn connection(stream: UnixStream, router: Router, stopping: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A connection that failed has no one left to be told.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn status(State(state): State<AdminState>) -> Response {
    Json(&*state.survey.status().await).into_response()
}

async fn back_up(State(state): State<AdminState>) -> Response {
    stream::create(&state.backups).await
}

/// A refusal as every error answer of the client port.
fn refused(refusal: &OperatorRefusal) -> Response {
    problem(refusal.kind(), refusal.problem())
}

fn malformed(rejection: &JsonRejection) -> Response {
    problem(Kind::Validation, Problem::new(Kind::Validation, rejection.body_text()))
}

fn problem(kind: Kind, problem: Problem) -> Response {
    let status = StatusCode::from_u16(kind.meaning().status);
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(problem)).into_response()
}
