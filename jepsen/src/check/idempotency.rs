//! Promise P6: what is sent again under its key has one effect and one answer, and another request
//! under that key is refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::verdict::{Anomaly, Verdict};
use crate::{
    history::pair::{Op, Outcome},
    test::run::Run,
};

/// The refusal of another request under a key that was used.
const REUSED: &str = "IDEMPOTENCY_KEY_REUSED";

pub fn check(run: &Run) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &run.ops {
        if let Some(key) = op.idem.as_deref() {
            keys.entry(key).or_default().push(op);
        }
    }
    let (mut anomalies, mut repeated) = (Vec::new(), 0_usize);
    for ops in keys.values() {
        repeated += usize::from(1 < ops.len());
        anomalies.extend(two_answers(ops));
        anomalies.extend(refused_without_reason(ops));
    }
    let verdict = Verdict::of("idempotency", anomalies);
    verdict.with("keys", keys.len()).with("sent_again", repeated)
}

/// Of two good answers under one key the second one is the first one again.
fn two_answers(ops: &[&Op]) -> Option<Anomaly> {
    let mut good = ops.iter().filter_map(|op| match &op.outcome {
        Outcome::Ok { status, value } => Some((*op, *status, value)),
        Outcome::Fail { .. } | Outcome::Info { .. } => None,
    });
    let (first, first_status, first_value) = good.next()?;
    good.find_map(|(op, status, value)| {
        if !is_same_request(first, op) {
            let what = format!("two requests under the key {} both took effect", key(op));
            return Some(about(what, &[first, op]));
        }
        (first_status != status || first_value != value).then(|| {
            let versions = [first_value, value].map(|value| value["version"].clone());
            let what = format!(
                "a repeat under the key {} was answered with something else: {} and {}, versions {} \
                 and {}",
                key(op), first_status, status, versions[0], versions[1]
            );
            about(what, &[first, op])
        })
    })
}

/// Only where another request was sent under the key may one be refused for that.
fn refused_without_reason(ops: &[&Op]) -> Option<Anomaly> {
    let refused = ops.iter().find(|op| {
        let was = op.failure().is_some_and(|failure| failure.kind == REUSED);
        was && ops.iter().all(|other| is_same_request(op, other))
    })?;
    let what = format!(
        "a request was refused as another one under the key {}, which nobody else used",
        key(refused)
    );
    Some(about(what, &[refused]))
}

fn is_same_request(one: &Op, other: &Op) -> bool {
    let body = |op: &Op| {
        if op.request.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            op.request.clone()
        }
    };
    one.f == other.f && one.key == other.key && body(one) == body(other)
}

fn key(op: &Op) -> &str {
    op.idem.as_deref().unwrap_or_default()
}

fn about(what: String, ops: &[&Op]) -> Anomaly {
    let mut anomaly = Anomaly::new(what).ops(ops.iter().map(|op| op.index));
    if let Some(last) = ops.last() {
        anomaly.session.clone_from(&last.key);
        anomaly.node = Some(last.node.clone());
        anomaly.time_ns = last.returned_ns;
    }
    anomaly
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        check::{example::Example, verdict::Validity},
        history::op::F,
    };

    /// Requests under one key, one after the other: the body, and the answer or the refusal.
    fn sent(steps: &[(Value, Result<Value, &str>)]) -> Verdict {
        let mut example = Example::started();
        for (at, (body, outcome)) in (0..).zip(steps) {
            let at = 300 + at * 10;
            example.op((F::Switch, Some("s")), body.clone(), (at, at + 5), outcome.clone());
            for back in [1, 2] {
                example.last_event(back).idem = Some(String::from("k-1"));
            }
        }
        check(&example.run())
    }

    #[test]
    fn one_effect_and_one_answer() {
        let (body, other) = (json!({"expected_version": 2}), json!({}));
        let first = || Ok(json!({"version": 3}));
        let good: [Vec<(Value, Result<Value, &str>)>; 4] = [
            vec![(body.clone(), first()), (body.clone(), first())],
            vec![(body.clone(), first()), (other.clone(), Err(REUSED))],
            vec![(body.clone(), Err("NO_LEADER")), (body.clone(), first())],
            vec![(Value::Null, first()), (json!({}), first())],
        ];
        for steps in good {
            assert_eq!(sent(&steps).valid, Validity::Valid, "{steps:?}");
        }
        let bad: [Vec<(Value, Result<Value, &str>)>; 6] = [
            vec![(body.clone(), first()), (body.clone(), Ok(json!({"version": 4})))],
            vec![
                (body.clone(), first()),
                (body.clone(), Ok(json!({"version": 3, "status": "paused"}))),
            ],
            vec![(body.clone(), first()), (other.clone(), first())],
            vec![(body.clone(), first()), (body.clone(), Err(REUSED))],
            vec![
                (body.clone(), Err("NO_LEADER")),
                (body.clone(), first()),
                (other, Ok(json!({"version": 4}))),
            ],
            vec![(body.clone(), first()), (body.clone(), first()), (body, Ok(Value::Null))],
        ];
        for steps in bad {
            assert_eq!(sent(&steps).valid, Validity::Invalid, "{steps:?}");
        }
    }
}
