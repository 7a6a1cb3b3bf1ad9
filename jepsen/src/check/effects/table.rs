//! Which status, which promise of effect and which advice to retry belong to each kind of error.
//! `jepsen/error-semantics.md` is the same for people.

use crate::{
    check::verdict::Anomaly,
    history::{
        op::Failure,
        pair::{Op, Outcome},
    },
};

struct Row {
    kind: &'static str,
    status: u16,
    retryable: bool,
    effect: &'static str,
}

const fn nothing(kind: &'static str, status: u16) -> Row {
    Row { kind, status, retryable: false, effect: "none" }
}

const fn later(kind: &'static str, status: u16) -> Row {
    Row { kind, status, retryable: true, effect: "none" }
}

const fn unknown(kind: &'static str, status: u16) -> Row {
    Row { kind, status, retryable: true, effect: "unknown" }
}

const ROWS: &[Row] = &[
    nothing("VALIDATION_ERROR", 400),
    nothing("PARTICIPANT_NOT_FOUND", 400),
    nothing("INVALID_SESSION_STATE", 400),
    nothing("PARTICIPANT_EXPIRED", 400),
    nothing("UNAUTHENTICATED", 401),
    nothing("PERMISSION_DENIED", 403),
    nothing("SESSION_NOT_FOUND", 404),
    nothing("NOT_FOUND", 404),
    nothing("METHOD_NOT_ALLOWED", 405),
    later("CONCURRENT_MODIFICATION", 409),
    nothing("SESSION_EXISTS", 409),
    nothing("FORMAT_LEVEL_TOO_LOW", 409),
    nothing("PAYLOAD_TOO_LARGE", 413),
    nothing("IDEMPOTENCY_KEY_REUSED", 422),
    later("RATE_LIMIT_EXCEEDED", 429),
    unknown("INTERNAL_ERROR", 500),
    later("NO_LEADER", 503),
    later("OVERLOADED", 503),
    later("SHUTTING_DOWN", 503),
    later("CAPACITY_EXCEEDED", 503),
    later("STORAGE_UNAVAILABLE", 503),
    later("NODE_REMOVED", 503),
    later("PUSH_UNAVAILABLE", 503),
    unknown("LEADERSHIP_LOST", 503),
    unknown("NETWORK_TIMEOUT", 504),
];

/// What the suite's own client says where there was no answer.
const OF_THE_CLIENT: [&str; 5] = ["CONNECT", "TIMEOUT", "CUT", "GARBLED", "UNFINISHED"];
/// The node of operations that the client crate carried out, which has words of its own.
const CRATE: &str = "client";

/// What an error says of itself that it must not.
pub(super) fn misfit(op: &Op) -> Option<Anomaly> {
    let (status, error) = match &op.outcome {
        Outcome::Fail { status, error } => (*status, error),
        Outcome::Info { error } => (None, error),
        Outcome::Ok { .. } => return None,
    };
    if op.node == CRATE || OF_THE_CLIENT.contains(&error.kind.as_str()) {
        return None;
    }
    let what = wrong(status, error)?;
    let mut anomaly = Anomaly::new(what).node(&op.node).ops([op.index]);
    anomaly.session.clone_from(&op.key);
    anomaly.time_ns = op.returned_ns;
    Some(anomaly)
}

fn wrong(status: Option<u16>, error: &Failure) -> Option<String> {
    let Failure { kind, effect, retryable, .. } = error;
    let Some(row) = ROWS.iter().find(|row| row.kind == kind) else {
        let shown = status.map_or_else(|| String::from("no status"), |status| status.to_string());
        return Some(format!("an error of the unknown kind {kind:?} was answered, with {shown}"));
    };
    let same_status = status.is_none_or(|status| status == row.status);
    let fits = same_status && *effect == row.effect && *retryable == row.retryable;
    (!fits).then(|| {
        format!(
            "{kind} was answered with status {status:?}, effect {effect} and retryable \
             {retryable}; it goes with {}, {} and {}",
            row.status, row.effect, row.retryable
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The product's table, which this crate shares no code with, and the document's.
    #[test]
    fn the_product_and_the_document_say_the_same() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(here.join("../protocol/src/error.rs")).unwrap();
        let document = fs::read_to_string(here.join("error-semantics.md")).unwrap();
        for row in ROWS {
            let name = format!("\"{}\"", row.kind);
            let line = source.lines().find(|line| {
                let mut words = line.split_whitespace();
                words.nth(1) == Some(name.as_str()) && line.trim_end().ends_with(';')
            });
            let words: Vec<&str> = line.unwrap().trim_end_matches(';').split_whitespace().collect();
            let retry = if row.retryable { "Retry" } else { "Never" };
            let effect = if row.effect == "none" { "None" } else { "Unknown" };
            let status = row.status.to_string();
            assert_eq!(words[3..], [status.as_str(), retry, effect], "{}", row.kind);
            let told = document.lines().find(|line| line.contains(&format!("`{}`", row.kind)));
            let cells: Vec<&str> = told.unwrap().split('|').map(str::trim).collect();
            let retry = if row.retryable { "yes" } else { "no" };
            assert_eq!(cells[1], status, "{}", row.kind);
            assert_eq!(cells[3..5], [row.effect, retry], "{}", row.kind);
        }
    }
}
