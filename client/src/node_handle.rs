//! One node of a cluster, asked for itself.

use synckairos_protocol::{error::Effect, wire::rest::NodeAnswer};

use crate::{
    client::{Inner, from_json},
    error::{ClientError, Failure},
    nodes::Node,
    transport::{Call, RawAnswer},
};

/// One node, asked for itself: once, and nobody else in its place.
#[derive(Clone, Debug)]
pub struct NodeHandle<'a> {
    client: &'a Inner,
    node: Node,
}

/// Whether a node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// The node's own words for what is missing.
    NotReady(String),
}

impl<'a> NodeHandle<'a> {
    pub(crate) fn new(client: &'a Inner, node: Node) -> Self {
        Self { client, node }
    }

    /// Base URL.
    pub fn url(&self) -> &str {
        &self.node
    }

    /// Does the process answer?
    ///
    /// # Errors
    /// It does not.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.ask("/health", |_| Ok(())).await
    }

    /// Can the node serve requests now?
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        let answer = self.send("/ready").await?;
        if answer.status != 503 {
            return self.value(answer, |_| Ok(Readiness::Ready));
        }
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let reason = body.get("error").and_then(serde_json::Value::as_str).unwrap_or("no reason");
        Ok(Readiness::NotReady(reason.to_owned()))
    }

    /// What the node knows of itself and of its leader.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn info(&self) -> Result<NodeAnswer, ClientError> {
        self.ask("/v1/node", from_json).await
    }

    async fn ask<T>(
        &self,
        path: &str,
        decode: fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, ClientError> {
        let answer = self.send(path).await?;
        self.value(answer, decode)
    }

    async fn send(&self, path: &str) -> Result<RawAnswer, ClientError> {
        let call = Call::read(path.to_owned());
        let timeout = self.client.config.attempt_timeout;
        let answer = self.client.transport.send(&self.node, &call, timeout).await;
        answer.map_err(|failure| self.error(failure))
    }

    fn value<T>(
        &self,
        answer: RawAnswer,
        decode: fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, ClientError> {
        answer.into_value(decode).map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> ClientError {
        ClientError::new(failure, Effect::None, &self.node, 1)
    }
}
