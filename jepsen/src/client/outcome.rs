//! What an answer, or its absence, says about the operation.

use serde_json::Value;

use super::http::{Answer, Broken};
use crate::history::op::{F, Failure, Kind};

/// The parts of a completion event.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub kind: Kind,
    pub status: Option<u16>,
    pub value: Value,
    pub error: Option<Failure>,
}

/// `ok` for success; `fail` where it certainly had no effect; else `info`. What only reads has no
/// effect, so it never is `info`.
pub fn classify(f: F, result: Result<Answer, Broken>) -> Completion {
    match result {
        Ok(answer) if (200..300).contains(&answer.status) => Completion {
            kind: Kind::Ok,
            status: Some(answer.status),
            value: value_of(f, answer.body),
            error: None,
        },
        Ok(answer) => {
            let failure = failure_of(&answer.body);
            let kind = if f.writes() && failure.effect != "none" { Kind::Info } else { Kind::Fail };
            Completion {
                kind,
                status: Some(answer.status),
                value: Value::Null,
                error: Some(failure),
            }
        }
        Err(broken) => {
            let open = f.writes() && broken.may_have_arrived();
            let effect = if open { "unknown" } else { "none" };
            let failure = Failure {
                kind: String::from(broken.as_str()),
                effect: String::from(effect),
                ..Failure::default()
            };
            let kind = if open { Kind::Info } else { Kind::Fail };
            Completion { kind, status: None, value: Value::Null, error: Some(failure) }
        }
    }
}

fn value_of(f: F, mut body: Value) -> Value {
    match f {
        F::Create | F::Start | F::Switch | F::Pause | F::Resume | F::Complete | F::Read => {
            body["data"].take()
        }
        F::Batch => body["data"]["results"].take(),
        F::Delete => Value::Null,
        F::StaleRead | F::List | F::Time => body,
    }
}

fn failure_of(body: &Value) -> Failure {
    let error = &body["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Failure {
        kind: text("kind"),
        effect: text("effect"),
        message: text("message"),
        context: error["context"].clone(),
        details: error["details"].clone(),
        retryable: error["retryable"].as_bool().unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_say_what_is_known() {
        let answer = |status, body| Ok(Answer { status, body });
        let refused = |effect: &str| json!({"error": {"kind": "NO_LEADER", "effect": effect}});
        let cases = [
            (F::Switch, answer(200, json!({"data": {"version": 3}})), Kind::Ok),
            (F::Switch, answer(503, refused("none")), Kind::Fail),
            (F::Switch, answer(503, refused("unknown")), Kind::Info),
            (F::Switch, answer(502, json!({})), Kind::Info),
            (F::Switch, Err(Broken::Connect), Kind::Fail),
            (F::Switch, Err(Broken::Cut), Kind::Info),
            (F::Read, Err(Broken::Timeout), Kind::Fail),
            (F::Read, answer(503, refused("unknown")), Kind::Fail),
        ];
        for (f, result, kind) in cases {
            assert_eq!(classify(f, result.clone()).kind, kind, "{f:?} {result:?}");
        }
    }
}
