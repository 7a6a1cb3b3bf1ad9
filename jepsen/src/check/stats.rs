//! Figures of the operations. As in Jepsen, a kind of operation that never succeeded is a reason to
//! doubt the test.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{quantile::Quantiles, verdict::Verdict};
use crate::{
    history::{op::F, pair::Outcome},
    test::run::Run,
};

/// A kind of operation that was tried this often should have succeeded once.
const TRIES: u64 = 10;

#[derive(Default)]
struct Row {
    ok: u64,
    fail: u64,
    info: u64,
    errors: BTreeMap<String, u64>,
    latency_us: Option<Quantiles>,
}

impl Row {
    const fn all(&self) -> u64 {
        self.ok + self.fail + self.info
    }

    fn to_value(&self) -> Value {
        let latency_us = self.latency_us.as_ref().map_or(Value::Null, Quantiles::to_value);
        json!({
            "count": self.all(), "ok": self.ok, "fail": self.fail, "info": self.info,
            "errors": self.errors, "latency_us": latency_us,
        })
    }
}

pub fn check(run: &Run) -> Verdict {
    let mut rows: BTreeMap<F, Row> = BTreeMap::new();
    let mut whole = Row::default();
    for op in &run.ops {
        let row = rows.entry(op.f).or_default();
        for row in [row, &mut whole] {
            match &op.outcome {
                Outcome::Ok { .. } => {
                    row.ok += 1;
                    let took_ns = op.returned_ns.map(|at| at.saturating_sub(op.invoked_ns));
                    let latency_us = row.latency_us.get_or_insert_with(Quantiles::new);
                    took_ns.into_iter().for_each(|ns| latency_us.add(ns / 1_000));
                }
                Outcome::Fail { error, .. } => {
                    row.fail += 1;
                    *row.errors.entry(error.kind.clone()).or_default() += 1;
                }
                Outcome::Info { error } => {
                    row.info += 1;
                    *row.errors.entry(error.kind.clone()).or_default() += 1;
                }
            }
        }
    }
    let never = rows.iter().filter(|(_, row)| TRIES <= row.all() && row.ok == 0);
    let never: Vec<&str> = never.map(|(f, _)| f.as_str()).collect();
    let by_f: serde_json::Map<String, Value> =
        rows.iter().map(|(f, row)| (f.as_str().to_owned(), row.to_value())).collect();
    let verdict = Verdict::of("stats", Vec::new())
        .with("all", whole.to_value())
        .with("by_f", by_f)
        .with("ok_per_second", per_second(run, whole.ok));
    if !never.is_empty() {
        return verdict.unknown(format!("never succeeded: {}", never.join(", ")));
    }
    if run.ops.is_empty() {
        return verdict.unknown("there was no operation");
    }
    verdict
}

/// Over the time in which there were operations.
fn per_second(run: &Run, count: u64) -> u64 {
    let began = run.ops.iter().map(|op| op.invoked_ns).min().unwrap_or(0);
    let ended = run.ops.iter().filter_map(|op| op.returned_ns).max().unwrap_or(began);
    let took_ms = (ended.saturating_sub(began) / 1_000_000).max(1);
    count.saturating_mul(1_000) / took_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{example::Example, verdict::Validity};

    fn refused(example: &mut Example, f: F, times: u64) {
        for at in (0..times).map(|time| 1_000 + time * 10) {
            example.op((f, Some("s")), Value::Null, (at, at + 1), Err("INVALID_SESSION_STATE"));
        }
    }

    #[test]
    fn operations_are_counted() {
        let mut example = Example::started();
        refused(&mut example, F::Resume, 9);
        refused(&mut example, F::Start, 12);
        example.open(F::Pause, "s", (2_000, 2_096));
        let verdict = check(&example.run());
        assert_eq!(verdict.valid, Validity::Valid, "nine tries are few, and a start succeeded");
        let start = &verdict.facts["by_f"]["start"];
        assert_eq!((&start["count"], &start["ok"]), (&13.into(), &1.into()));
        assert_eq!(start["errors"]["INVALID_SESSION_STATE"], 12);
        assert_eq!(start["latency_us"]["max"], 4_000);
        assert_eq!(verdict.facts["all"]["info"], 1);
        assert_eq!(verdict.facts["ok_per_second"], 1, "2 within 1.011 s");
    }

    #[test]
    fn what_never_succeeds_is_doubted() {
        for f in [F::Switch, F::Pause, F::Resume, F::Complete, F::Delete] {
            let mut example = Example::started();
            refused(&mut example, f, 10);
            let verdict = check(&example.run());
            assert_eq!(verdict.valid, Validity::Unknown);
            assert!(verdict.why.unwrap().contains(f.as_str()));
        }
        assert_eq!(check(&Example::new().run()).valid, Validity::Unknown);
    }
}
