//! The format level: what it is, what it could be, and raising it.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{AdminState, refused};
use crate::members::{
    beside_the_point,
    requests::{OperatorAnswer, OperatorRequest},
};

#[derive(Deserialize, Serialize)]
pub(crate) struct UpgradeAnswer {
    /// The format level of the cluster.
    pub(crate) level: u16,
    /// What it can be raised to; `null` where a node did not say what it understands.
    pub(crate) possible: Option<u16>,
    pub(crate) nodes: Vec<NodeLevel>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct NodeLevel {
    pub(crate) id: u64,
    /// The newest format level that it understands; `null` where it did not answer.
    pub(crate) understands: Option<u16>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct LevelAnswer {
    pub(crate) before: u16,
    pub(crate) level: u16,
}

pub(super) async fn status(State(state): State<AdminState>) -> Response {
    let understood = state.survey.understood().await;
    let all: Option<Vec<u16>> = understood.values().copied().collect();
    let nodes = understood.into_iter().map(|(id, understands)| NodeLevel { id, understands });
    let level = state.members.level();
    let possible = all.and_then(|all| all.into_iter().min()).map(|one| one.max(level));
    Json(UpgradeAnswer { level, possible, nodes: nodes.collect() }).into_response()
}

pub(super) async fn finalize(State(state): State<AdminState>) -> Response {
    match state.members.ask(OperatorRequest::FinalizeUpgrade).await {
        Ok(OperatorAnswer::Level { before, now }) => {
            Json(LevelAnswer { before, level: now }).into_response()
        }
        Ok(other) => refused(&beside_the_point(&other)),
        Err(refusal) => refused(&refusal),
    }
}
