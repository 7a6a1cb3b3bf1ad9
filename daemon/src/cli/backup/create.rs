//! `synckairos backup create`: the state of a running cluster, from one of its nodes on this
//! machine, into a file.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use synckairos_protocol::wire::problem::Problem;

use super::show;
use crate::{
    backup::file::PartFile,
    cli::{CliError, Output, operator::NodeArgs},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A node that is not up to date waits for a leader before it begins, and a slow disk may hold it
/// up later.
const NEXT_WITHIN: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(super) struct Create {
    /// Where the backup goes
    file: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// Replace the file where there is one
    #[arg(long)]
    force: bool,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// There is no backup. The message says what to do.
#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error("{} exists; name another file, or add --force to replace it", .0.display())]
    Exists(PathBuf),
    #[error("{} names no file", .0.display())]
    NoName(PathBuf),
    #[error("no answer from {}: {reason}; is the node running?", socket.display())]
    Unreachable { socket: PathBuf, reason: String },
    #[error("the node refused: {0}")]
    Refused(String),
    #[error("the node ended the backup before its end: {0}; its log says why")]
    Cut(String),
    #[error("cannot write the backup: {0}; look for room and for rights where it goes")]
    Write(std::io::Error),
}

impl Create {
    pub(super) fn run(self) -> Result<(), CliError> {
        let socket = self.node.socket()?;
        self.check_absent()?;
        let name = self.file.file_name().ok_or_else(|| CreateError::NoName(self.file.clone()))?;
        let mut part_name = name.to_owned();
        part_name.push(".part");
        let part = PartFile::create(self.file.with_file_name(part_name))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(receive(&socket, part.file()))?;
        let (manifest, bytes) = part.seal()?;
        // It may have been made meanwhile.
        self.check_absent()?;
        part.name(&self.file)?;
        show::show(&self.file, &manifest, bytes, self.output)
    }

    fn check_absent(&self) -> Result<(), CreateError> {
        if self.file.exists() && !self.force {
            return Err(CreateError::Exists(self.file.clone()));
        }
        Ok(())
    }
}

/// Writes what the node sends, up to its end.
async fn receive(socket: &Path, mut output: impl Write) -> Result<(), CreateError> {
    let failed = |error: reqwest::Error| {
        let reason = root_cause(&error);
        if error.is_connect() || error.is_builder() {
            CreateError::Unreachable { socket: socket.to_owned(), reason }
        } else {
            CreateError::Cut(reason)
        }
    };
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(NEXT_WITHIN)
        .build()
        .map_err(failed)?;
    let mut answer = client.post("http://node/v1/backup").send().await.map_err(failed)?;
    if !answer.status().is_success() {
        let status = answer.status();
        let body = answer.text().await.map_err(failed)?;
        let told = serde_json::from_str(&body).map(|problem: Problem| problem.error.message);
        return Err(CreateError::Refused(told.unwrap_or_else(|_| status.to_string())));
    }
    while let Some(bytes) = answer.chunk().await.map_err(failed)? {
        output.write_all(&bytes).map_err(CreateError::Write)?;
    }
    Ok(())
}

/// The error at the bottom says what happened, those above it only where.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, routing::post};
    use clap::Parser;
    use futures_util::stream;
    use tokio::net::UnixListener;

    use super::*;
    use crate::admin;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn parse(words: &[&str]) -> Result<Create, clap::Error> {
        Line::try_parse_from([&["create"], words].concat()).map(|line| line.create)
    }

    /// What comes of asking a node that answers so.
    async fn asked(answer: fn() -> (StatusCode, Body)) -> (Result<(), CreateError>, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join(admin::SOCKET);
        let listener = UnixListener::bind(&socket).unwrap();
        let router = Router::new().route("/v1/backup", post(async move || answer()));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut received = Vec::new();
        let result = receive(&socket, &mut received).await;
        server.abort();
        (result, received)
    }

    fn pieces(pieces: Vec<Result<&'static str, &'static str>>) -> Body {
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_end() {
        let (result, received) =
            asked(|| (StatusCode::OK, pieces(vec![Ok("one "), Ok("two")]))).await;
        result.unwrap();
        assert_eq!(received, b"one two");
    }

    #[tokio::test]
    async fn a_body_that_is_cut_is_an_error() {
        let (result, _) =
            asked(|| (StatusCode::OK, pieces(vec![Ok("one "), Err("the disk")]))).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("before its end"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_nodes_words() {
        let refuse = || {
            let problem = Problem::new(
                synckairos_protocol::error::Kind::NoLeader,
                "no leader is known to this node",
            );
            let body = serde_json::to_vec(&problem).unwrap();
            (StatusCode::SERVICE_UNAVAILABLE, body.into())
        };
        let (result, _) = asked(refuse).await;
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "the node refused: no leader is known to this node");
    }

    #[test]
    fn nothing_is_left_where_no_node_runs_and_no_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (dir, file) = (directory.path(), directory.path().join("a.backup"));
        let words = [file.to_str().unwrap(), "--data-dir", dir.to_str().unwrap()];
        let error = parse(&words).unwrap().run().unwrap_err().to_string();
        assert!(error.contains("is the node running?"), "{error}");
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
        std::fs::write(&file, "precious").unwrap();
        let error = parse(&words).unwrap().run().unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        assert!(parse(&["a.backup"]).is_err());
        assert!(parse(&["a.backup", "--data-dir", "d", "--config", "c"]).is_err());
    }
}
