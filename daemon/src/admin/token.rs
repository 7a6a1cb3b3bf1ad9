//! Tokens that let a node in.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use synckairos_protocol::{error::Kind, wire::problem::Problem};

use super::{AdminState, malformed, problem, refused};
use crate::members::{
    beside_the_point,
    requests::{OperatorAnswer, OperatorRequest},
    token::{JoinToken, NoToken},
};

/// A week: a token that lies about for longer is no secret any more.
const TTL_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenOrder {
    pub(crate) ttl_ms: u64,
    /// The node whose place the new one takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<u64>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct TokenAnswer {
    pub(crate) token: String,
    /// Cluster time, milliseconds since the Unix epoch.
    pub(crate) expires_at_ms: u64,
}

pub(super) async fn create(
    State(state): State<AdminState>,
    body: Result<Json<TokenOrder>, JsonRejection>,
) -> Response {
    let TokenOrder { ttl_ms, replaces } = match body {
        Ok(Json(order)) => order,
        Err(rejection) => return malformed(&rejection),
    };
    if ttl_ms == 0 || TTL_MAX_MS < ttl_ms {
        let message = format!("ttl_ms is {ttl_ms}; a token is good for 1 to {TTL_MAX_MS} ms");
        return problem(Kind::Validation, Problem::new(Kind::Validation, message));
    }
    let Some(pin) = state.pin else {
        let message = "this node does not hold the authority's key (peer.ca_key), so it cannot \
                       issue certificates: use a node that does, or set up the new one by hand \
                       with `synckairos tls issue`";
        return problem(Kind::PermissionDenied, Problem::new(Kind::PermissionDenied, message));
    };
    let mut token = match JoinToken::new(state.cluster, pin, Vec::new(), 0) {
        Ok(token) => token,
        Err(error) => return failed(&error),
    };
    let (id, digest) = (token.id, token.digest());
    let request = OperatorRequest::CreateToken { id, digest, ttl_ms, replaces };
    match state.members.ask(request).await {
        Ok(OperatorAnswer::TokenCreated { expires_at, members }) => {
            token.nodes = members;
            token.expires_at_ms = expires_at.unix_millis();
            match token.text() {
                Ok(text) => {
                    let expires_at_ms = token.expires_at_ms;
                    Json(TokenAnswer { token: text, expires_at_ms }).into_response()
                }
                Err(error) => failed(&error),
            }
        }
        Ok(other) => refused(&beside_the_point(&other)),
        Err(refusal) => refused(&refusal),
    }
}

fn failed(error: &NoToken) -> Response {
    problem(Kind::Internal, Problem::new(Kind::Internal, error.to_string()))
}
