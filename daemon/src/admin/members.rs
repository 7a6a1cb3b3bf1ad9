//! Removing nodes, and who leads.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{AdminState, malformed, refused};
use crate::members::requests::{OperatorAnswer, OperatorRefusal, OperatorRequest};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(super) struct Removal {
    accept_no_spare: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    pub(crate) to: u64,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct VotersAnswer {
    pub(crate) voters: Vec<u64>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct LeaderAnswer {
    pub(crate) leader: u64,
}

pub(super) async fn remove(
    State(state): State<AdminState>,
    Path(node): Path<u64>,
    Query(removal): Query<Removal>,
) -> Response {
    let Removal { accept_no_spare } = removal;
    answered(state.members.ask(OperatorRequest::Remove { node, accept_no_spare }).await)
}

pub(super) async fn transfer(
    State(state): State<AdminState>,
    body: Result<Json<Transfer>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(Transfer { to })) => {
            answered(state.members.ask(OperatorRequest::TransferLeader { to }).await)
        }
        Err(rejection) => malformed(&rejection),
    }
}

/// Whoever leads now makes way for somebody else.
pub(super) async fn step_down(State(state): State<AdminState>) -> Response {
    let Some(from) = state.members.leader() else {
        return refused(&crate::sessions::refusal::Refusal::NoLeader.into());
    };
    answered(state.members.ask(OperatorRequest::StepDown { from }).await)
}

fn answered(answer: Result<OperatorAnswer, OperatorRefusal>) -> Response {
    match answer {
        Ok(OperatorAnswer::Removed { voters }) => {
            Json(VotersAnswer { voters: voters.into_iter().collect() }).into_response()
        }
        Ok(OperatorAnswer::Led { leader }) => Json(LeaderAnswer { leader }).into_response(),
        Ok(other) => refused(&crate::members::beside_the_point(&other)),
        Err(refusal) => refused(&refusal),
    }
}
