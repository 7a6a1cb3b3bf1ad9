//! When everything is healed, all nodes come to the same state by themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    state::{SECOND, born, number, stamp_ms, version, word},
    verdict::{Anomaly, Verdict},
};
use crate::test::run::{NodeEnding, Run};

pub fn check(run: &Run) -> Verdict {
    let ending = &run.ending;
    let mut anomalies = Vec::new();
    if !ending.recovered {
        let since = ending.ready_ns.max(ending.quiet_ns).saturating_sub(ending.healed_ns) / SECOND;
        let trouble = ending.trouble.as_deref().unwrap_or("nobody knows why");
        anomalies.push(Anomaly::new(format!(
            "the cluster did not recover by itself within {since} s after the last fault: {trouble}"
        )));
    }
    anomalies.extend(sessions(run));
    let exports = Exports::of(&ending.nodes);
    anomalies.extend(exports.differences());
    let verdict = Verdict::of("converge", anomalies)
        .with("nodes", ending.nodes.len())
        .with("sessions", ending.nodes.iter().map(|node| node.sessions.len()).max().unwrap_or(0))
        .with("recovered_after_ms", ending.ready_ns.saturating_sub(ending.healed_ns) / 1_000_000);
    match exports.not_compared() {
        Some(why) => verdict.unknown(why),
        None => verdict,
    }
}

/// The replicated state of each node, as text of which only a hash is kept.
struct Exports<'a> {
    by_revision: BTreeMap<u64, BTreeMap<&'a str, Vec<&'a str>>>,
    missing: Vec<&'a str>,
}

impl<'a> Exports<'a> {
    fn of(nodes: &'a [NodeEnding]) -> Self {
        let mut exports = Self { by_revision: BTreeMap::new(), missing: Vec::new() };
        for node in nodes {
            match &node.export {
                Some(export) => {
                    let hashes = exports.by_revision.entry(export.revision).or_default();
                    hashes.entry(export.hash.as_str()).or_default().push(&node.name);
                }
                None => exports.missing.push(&node.name),
            }
        }
        exports
    }

    fn differences(&self) -> Vec<Anomaly> {
        let split = self.by_revision.iter().filter(|(_, hashes)| 1 < hashes.len());
        let anomaly = |(revision, hashes): (&u64, &BTreeMap<&str, Vec<&str>>)| {
            let sides: Vec<String> = hashes.values().map(|nodes| nodes.join(" and ")).collect();
            let sides = sides.join(" against ");
            let what = format!("at one revision nodes hold different states: {sides}");
            Anomaly { revision: Some(*revision), ..Anomaly::new(what) }
        };
        split.map(anomaly).collect()
    }

    /// Which nodes were compared with no other one, and why.
    fn not_compared(&self) -> Option<String> {
        let mut alone: Vec<String> =
            self.missing.iter().map(|node| format!("{node} gave no export")).collect();
        for (revision, hashes) in &self.by_revision {
            let nodes: Vec<&str> = hashes.values().flatten().copied().collect();
            if let [node] = nodes[..] {
                alone.push(format!("{node} alone was exported at revision {revision}"));
            }
        }
        if self.by_revision.is_empty() && alone.is_empty() {
            return Some(String::from("no node was asked at the end"));
        }
        (!alone.is_empty()).then(|| alone.join(", "))
    }
}

/// Every node has every session as the first one has it. Nodes are asked one after the other, so a
/// clock may have gone on meanwhile.
fn sessions(run: &Run) -> Vec<Anomaly> {
    let [first, others @ ..] = &run.ending.nodes[..] else { return Vec::new() };
    let mut anomalies = Vec::new();
    for other in others {
        let names: BTreeSet<&String> = first.sessions.keys().chain(other.sessions.keys()).collect();
        for name in names {
            let (Some(a), Some(b)) = (first.sessions.get(name), other.sessions.get(name)) else {
                continue;
            };
            if a == b || went_on(run, name, a, b) {
                continue;
            }
            let (at_a, at_b) = (told(a), told(b));
            let what = format!("{} has it {at_a}, {} {at_b}", first.name, other.name);
            anomalies.push(Anomaly::new(what).session(name).node(&other.name));
        }
    }
    anomalies
}

fn told(state: &Value) -> String {
    match version(state) {
        None => String::from("not at all"),
        Some(version) => {
            format!("at version {version}, {}", state["status"].as_str().unwrap_or_default())
        }
    }
}

/// Did nothing but its own clock change the session between these two looks?
fn went_on(run: &Run, session: &str, a: &Value, b: &Value) -> bool {
    let (Some(at_a), Some(at_b)) = (version(a), version(b)) else { return false };
    if born(a) != born(b) || at_a == at_b {
        return false;
    }
    let (early, late) = if at_a < at_b { (a, b) } else { (b, a) };
    if early["on_outage"] == "freeze" && only_credited(early, late) {
        return true;
    }
    let (from, to) = (at_a.min(at_b), at_a.max(at_b));
    // It fell due, and what came then came not before.
    let due = number(early, "deadline_ms");
    let happened = due.zip(stamp_ms(late, "updated_at")).is_some_and(|(due, at)| due <= at);
    let updates = run.tape.sessions.get(session).map_or(&[][..], Vec::as_slice);
    let between = updates.iter().filter(|update| {
        let same_life = update.state.as_ref().and_then(born) == born(a);
        same_life && from < update.version && update.version <= to
    });
    happened && between.into_iter().all(|update| word(&update.cause, "reason") != "command")
}

/// Is the later state the earlier one, with nothing but a span without a leader given back?
fn only_credited(early: &Value, late: &Value) -> bool {
    let rest = |state: &Value| {
        let mut rest = state.clone();
        if let Some(fields) = rest.as_object_mut() {
            for moved in ["version", "updated_at", "cycle_started_at", "deadline_ms"] {
                fields.remove(moved);
            }
        }
        rest
    };
    let later =
        |field| stamp_ms(early, field).zip(stamp_ms(late, field)).is_some_and(|(a, b)| a < b);
    rest(early) == rest(late) && later("updated_at") && later("cycle_started_at")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        check::{example::Example, verdict::Validity},
        history::op::F,
    };

    fn good() -> Run {
        let mut example = Example::started();
        example.write(F::Switch, "s", 300);
        example.create("gone", 400);
        example.write(F::Delete, "gone", 500);
        example.end(1_000);
        example.run()
    }

    fn wrong(change: impl Fn(&mut Run)) -> Verdict {
        let mut run = good();
        change(&mut run);
        check(&run)
    }

    #[test]
    fn nodes_that_agree_are_accepted() {
        let verdict = check(&good());
        assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
        assert_eq!(verdict.facts["sessions"], 2);
    }

    #[test]
    fn an_outage_may_be_given_back_between_two_looks() {
        let looks = |frozen: bool, change: fn(&mut Value)| {
            let mut example = Example::started();
            let mut before = example.state("s");
            example.credit("s", (2_000, 3_000));
            example.end(4_000);
            let mut run = example.run();
            change(&mut before);
            for node in &mut run.ending.nodes {
                node.export = None;
                let state = node.sessions.get_mut("s").unwrap();
                if frozen {
                    state["on_outage"] = json!("freeze");
                    before["on_outage"] = json!("freeze");
                }
            }
            run.ending.nodes[0].sessions.insert(String::from("s"), before);
            check(&run).anomalies.len()
        };
        assert_eq!(looks(true, |_| {}), 0);
        assert_ne!(looks(false, |_| {}), 0, "nothing is given back to others");
        assert_ne!(looks(true, |state| state["elapsed_ms"] = json!(7)), 0);
    }

    #[test]
    fn a_clock_may_go_on_between_two_looks() {
        let mut example = Example::started();
        let before = example.state("s");
        example.expire("s", 2);
        example.end(70_000);
        let mut run = example.run();
        run.ending.nodes[0].sessions.insert(String::from("s"), before.clone());
        assert_eq!(check(&run).valid, Validity::Valid);
        // It was not due yet, or a command did it.
        let mut early = before;
        early["deadline_ms"] = json!(crate::check::example::EPOCH_MS + 999_999);
        run.ending.nodes[0].sessions.insert(String::from("s"), early);
        assert_eq!(check(&run).valid, Validity::Invalid);
    }

    #[test]
    fn nodes_that_differ_are_found() {
        let cases = [
            ("hash", wrong(|run| run.ending.nodes[1].export.as_mut().unwrap().hash.push('!'))),
            (
                "recovery",
                wrong(|run| {
                    run.ending.recovered = false;
                    run.ending.trouble = Some(String::from("n2 is not ready"));
                }),
            ),
            (
                "version",
                wrong(|run| {
                    run.ending.nodes[2].sessions.get_mut("s").unwrap()["version"] = json!(2);
                }),
            ),
            (
                "content",
                wrong(|run| {
                    run.ending.nodes[2].sessions.get_mut("s").unwrap()["elapsed_ms"] = json!(99);
                }),
            ),
            (
                "missing",
                wrong(|run| {
                    run.ending.nodes[1].sessions.insert(String::from("s"), Value::Null);
                }),
            ),
            (
                "undead",
                wrong(|run| {
                    let state = run.ending.nodes[0].sessions["s"].clone();
                    run.ending.nodes[1].sessions.insert(String::from("gone"), state);
                }),
            ),
        ];
        for (case, verdict) in cases {
            assert_eq!(verdict.valid, Validity::Invalid, "{case}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_unknown() {
        let cases = [
            wrong(|run| run.ending.nodes[0].export.as_mut().unwrap().revision += 1),
            wrong(|run| run.ending.nodes[0].export = None),
            wrong(|run| run.ending.nodes.clear()),
        ];
        for verdict in cases {
            assert_eq!(verdict.valid, Validity::Unknown);
        }
        let why = wrong(|run| run.ending.nodes[0].export = None).why.unwrap();
        assert!(why.contains("n1"), "{why}");
    }
}
