//! A node that cannot trust its disk ends, and one that has what it needs comes back: nothing in
//! between, because nobody replaces a node that does not say that it is of no use.

use serde_json::Value;

use super::{
    verdict::{Anomaly, Verdict},
    window,
};
use crate::{
    nemesis::{FaultRecord, disk},
    test::run::Run,
};

pub fn check(run: &Run) -> Verdict {
    let (mut anomalies, mut faults, mut refused, mut came_back) = (Vec::new(), 0_u64, 0_u64, 0_u64);
    for fault in
        window::installed(run).filter(|fault| !disk::forms(fault.planned.trouble).is_empty())
    {
        faults += 1;
        refused += u64::from(has(fault, "refused_with"));
        came_back += u64::from(has(fault, "came_back"));
        anomalies.extend(wrong(fault));
    }
    Verdict::of("disks", anomalies)
        .with("faults", faults)
        .with("refused", refused)
        .with("came_back", came_back)
}

fn wrong(fault: &FaultRecord) -> Vec<Anomaly> {
    let what = [
        (disk::WENT_ON, "a write or a sync had failed, and the node went on"),
        (disk::STUCK, "the node neither got ready after it had been started, nor ended"),
        (disk::FORGOT_ALL, "the node had lost all of its data, and went on under its own id"),
        (disk::TOOK_FOREIGN, "the node took another node's data for its own"),
    ];
    let word = window::name(fault.planned.trouble);
    let found = what.into_iter().filter(|(fact, _)| has(fault, fact));
    let anomaly = |(_, what): (&str, &str)| Anomaly {
        node: fault.nodes.first().cloned(),
        time_ns: Some(fault.ended_ns),
        ..Anomaly::new(format!("{what} ({word}, {})", fault.planned.form))
    };
    found.map(anomaly).collect()
}

/// Is it among the evidence, and not denied there?
fn has(fault: &FaultRecord, fact: &str) -> bool {
    fault.evidence.get(fact).is_some_and(|told| *told != Value::Bool(false) && !told.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        check::{example::Example, verdict::Validity},
        nemesis::{FaultOutcome, Trouble},
    };

    fn judge(trouble: Trouble, outcome: FaultOutcome, evidence: &Value) -> Verdict {
        let mut example = Example::new();
        example.fault(trouble, &["n2"], (1_000, 2_000));
        let mut run = example.run();
        for fault in &mut run.faults {
            fault.outcome = outcome.clone();
            fault.evidence = evidence.clone();
        }
        check(&run)
    }

    #[test]
    fn who_comes_back_or_refuses_is_accepted() {
        let cases = [
            (Trouble::DiskError, json!({"ended_with": 74, "failed_calls": 1, "came_back": true})),
            (Trouble::DiskError, json!({"went_on": false, "failed_calls": 0, "came_back": true})),
            (Trouble::Corrupt, json!({"refused_with": 65, "replaced_by": "n4"})),
            (Trouble::DataLoss, json!({"forgot_all": false, "refused_with": 1})),
            (Trouble::SlowDisk, Value::Null),
            // What is no disk has words of its own.
            (Trouble::Kill, json!({"stuck": true})),
        ];
        for (trouble, evidence) in cases {
            let verdict = judge(trouble, FaultOutcome::Bit, &evidence);
            assert_eq!(verdict.valid, Validity::Valid, "{evidence}");
        }
        let verdict = judge(
            Trouble::Corrupt,
            FaultOutcome::Bit,
            &json!({"refused_with": 65, "replaced_by": "n4"}),
        );
        assert_eq!((&verdict.facts["faults"], &verdict.facts["refused"]), (&1.into(), &1.into()));
    }

    #[test]
    fn who_does_neither_is_found() {
        let stuck = json!({"stuck": {"said": null, "position": null}, "replaced_by": "n4"});
        let cases = [
            (Trouble::DiskError, json!({"went_on": true, "failed_calls": 3})),
            (Trouble::DiskFull, json!({"went_on": true, "came_back": true})),
            (Trouble::LyingDisk, stuck.clone()),
            (Trouble::DataLoss, stuck.clone()),
            (Trouble::Corrupt, stuck),
            (Trouble::DataLoss, json!({"forgot_all": true, "came_back": true})),
            (Trouble::DataLoss, json!({"took_foreign": true, "came_back": true})),
        ];
        for (trouble, evidence) in cases {
            // Also where the fault was not seen to the end.
            for outcome in [FaultOutcome::Bit, FaultOutcome::indeterminate("late")] {
                let verdict = judge(trouble, outcome, &evidence);
                assert_eq!(verdict.valid, Validity::Invalid, "{evidence}");
                assert_eq!(verdict.anomalies[0].node.as_deref(), Some("n2"));
            }
        }
    }
}
