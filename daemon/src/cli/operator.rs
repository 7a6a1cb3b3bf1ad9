//! How commands reach a node's socket for operators, and how its refusals are told.

use std::{path::PathBuf, time::Duration};

use http::Method;
use serde::{Serialize, de::DeserializeOwned};
use synckairos_protocol::wire::problem::Problem;

use super::CliError;
use crate::{
    admin,
    config::{self, Flags},
};

/// Longer than a node takes to give up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Which node is asked.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct NodeArgs {
    /// The data directory of a node on this machine, or that of `synckairos dev`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration of a node on this machine
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A node's socket for operators.
pub(super) struct Operator {
    socket: PathBuf,
    client: reqwest::Client,
}

impl NodeArgs {
    /// # Errors
    /// Where the configuration cannot be read.
    pub(super) fn socket(&self) -> Result<PathBuf, CliError> {
        let data_dir = match (&self.data_dir, &self.config) {
            (Some(data_dir), _) => data_dir.clone(),
            (None, file) => config::read(file.as_deref(), &Flags::default())?.0.node.data_dir,
        };
        let socket = admin::sockets_in(&data_dir).into_iter().next();
        Ok(socket.unwrap_or_else(|| data_dir.join(admin::SOCKET)))
    }

    /// # Errors
    /// Where the configuration cannot be read.
    pub(super) fn operator(&self) -> Result<Operator, CliError> {
        let socket = self.socket()?;
        let client = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .unix_socket(socket.as_path())
            .build()?;
        Ok(Operator { socket, client })
    }
}

impl Operator {
    /// One request and its answer.
    ///
    /// # Errors
    /// What the node refused, in its words, or that it does not answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CliError> {
        let answer = self.send(method, path, body).await?;
        let text = answer.text().await.map_err(|error| self.silent(&error))?;
        serde_json::from_str(&text).map_err(|error| {
            format!("the node answered what this version does not understand: {error}").into()
        })
    }

    /// As [`Operator::ask`], for an answer that is read piece by piece.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<reqwest::Response, CliError> {
        let mut request = self.client.request(method, format!("http://node{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.silent(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Err(problem.error.message.into()),
            Err(_) => Err(format!("the node answered {status}; is it of this version?").into()),
        }
    }

    fn silent(&self, error: &reqwest::Error) -> CliError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        let socket = self.socket.display();
        format!("no answer on {socket}: {cause}; is the node running, and is this its directory?")
            .into()
    }
}

/// Runs one conversation with a node.
pub(super) fn block_on<T>(
    conversation: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(conversation)
}

/// For requests without a body.
pub(super) const NO_BODY: Option<&()> = None;
