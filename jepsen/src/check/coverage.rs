//! Did the test do what it says? A fault that did not bite, or clients that did nothing, prove
//! nothing: then the verdict is unknown, whatever the other checkers say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{verdict::Verdict, window};
use crate::{
    history::pair::Outcome,
    nemesis::{FaultOutcome, FaultRecord, Trouble},
    test::run::Run,
};

/// Fewer operations that took effect than this are no test.
const OK_MIN: usize = 20;
/// Of a hundred operations.
const OK_PERCENT_MIN: usize = 10;

pub fn check(run: &Run) -> Verdict {
    let wanted: BTreeSet<Trouble> = run.plan.nemesis.iter().copied().collect();
    let mut missing = Vec::new();
    let mut table = serde_json::Map::new();
    for trouble in &wanted {
        let faults: Vec<&FaultRecord> =
            run.faults.iter().filter(|fault| fault.planned.trouble == *trouble).collect();
        let schedule = run.plan.schedule.iter();
        let planned = schedule.filter(|planned| planned.trouble == *trouble).count();
        let (row, bit) = row(planned, &faults);
        let name = window::name(*trouble);
        if bit == 0 {
            missing.push(format!("{name}: {}", why_none(&faults)));
        }
        table.insert(name, row);
    }
    let ok = run.ops.iter().filter(|op| matches!(op.outcome, Outcome::Ok { .. })).count();
    if ok < OK_MIN || ok * 100 < run.ops.len() * OK_PERCENT_MIN {
        missing.push(format!("clients: {ok} of {} operations took effect", run.ops.len()));
    }
    let verdict = Verdict::of("coverage", Vec::new())
        .with("faults", table)
        .with("operations", run.ops.len())
        .with("ok", ok);
    if missing.is_empty() { verdict } else { verdict.unknown(missing.join("; ")) }
}

/// What came of the faults of one family, and how many bit.
fn row(planned: usize, faults: &[&FaultRecord]) -> (Value, u64) {
    let mut forms: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, u64> =
        ["bit", "unseen", "skipped", "indeterminate"].map(|word| (word, 0)).into();
    for fault in faults {
        let word = match fault.outcome {
            FaultOutcome::Bit => "bit",
            FaultOutcome::Unseen(_) => "unseen",
            FaultOutcome::Skipped(_) => "skipped",
            FaultOutcome::Indeterminate(_) => "indeterminate",
        };
        *outcomes.entry(word).or_default() += 1;
        *forms.entry(&fault.planned.form).or_default().entry(word).or_default() += 1;
    }
    let bit = outcomes["bit"];
    let mut row = json!(outcomes);
    (row["planned"], row["forms"]) = (json!(planned), json!(forms));
    (row, bit)
}

/// Why no fault of a family bit: the first reason of each kind.
fn why_none(faults: &[&FaultRecord]) -> String {
    let mut reasons = BTreeSet::new();
    for fault in faults {
        reasons.insert(match &fault.outcome {
            FaultOutcome::Bit => continue,
            FaultOutcome::Unseen(why) => format!("not seen to bite ({why})"),
            FaultOutcome::Skipped(why) => format!("skipped ({why})"),
            FaultOutcome::Indeterminate(why) => format!("nobody knows ({why})"),
        });
    }
    if reasons.is_empty() {
        return String::from("none was tried");
    }
    reasons.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{example::Example, verdict::Validity},
        history::op::F,
    };

    fn judge(change: impl Fn(&mut Example)) -> Verdict {
        let mut example = Example::started();
        for at in (300..700).step_by(20) {
            example.write(F::Switch, "s", at);
        }
        example.fault(Trouble::Kill, &["n1"], (300, 400));
        change(&mut example);
        check(&example.run())
    }

    #[test]
    fn a_test_that_did_what_it_says_is_valid() {
        let verdict = judge(|example| {
            // Another one of the family did not bite, which is no matter.
            example.fault(Trouble::Kill, &["n2"], (500, 600)).outcome =
                FaultOutcome::skipped_for("no leader");
        });
        assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.why);
        let kill = &verdict.facts["faults"]["kill"];
        assert_eq!(
            (&kill["planned"], &kill["bit"], &kill["skipped"]),
            (&2.into(), &1.into(), &1.into())
        );
        assert_eq!(kill["forms"]["plain"]["bit"], 1);
    }

    #[test]
    fn what_was_not_done_is_unknown_and_named() {
        type Change = fn(&mut Example);
        let cases: [(&str, Change); 5] = [
            ("partition: skipped (no rights)", |example| {
                example.fault(Trouble::Partition, &["n1"], (300, 400)).outcome =
                    FaultOutcome::skipped_for("no rights");
            }),
            ("pause: not seen to bite (too short)", |example| {
                example.fault(Trouble::Pause, &["n1"], (300, 400)).outcome =
                    FaultOutcome::Unseen(String::from("too short"));
            }),
            ("disk-full: nobody knows (hung)", |example| {
                example.fault(Trouble::DiskFull, &["n1"], (300, 400)).outcome =
                    FaultOutcome::Indeterminate(String::from("hung"));
            }),
            ("clock: none was tried", |example| example.wants(Trouble::Clock)),
            ("clients: 22 of 321 operations took effect", |example| {
                for at in 0..299 {
                    let nothing = Err("NO_LEADER");
                    example.op((F::Pause, Some("s")), Value::Null, (800 + at, 801 + at), nothing);
                }
            }),
        ];
        for (why, change) in cases {
            let verdict = judge(change);
            assert_eq!(verdict.valid, Validity::Unknown, "{why}");
            assert_eq!(verdict.why.as_deref(), Some(why));
        }
        assert_eq!(check(&Example::started().run()).valid, Validity::Unknown, "too few operations");
    }

    impl FaultOutcome {
        fn skipped_for(why: &str) -> Self {
            Self::Skipped(why.to_owned())
        }
    }
}
