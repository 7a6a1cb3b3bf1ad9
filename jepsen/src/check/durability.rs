//! Promise P1: what was acknowledged is there at the end, on every node, whatever was killed or
//! lost its power; and what was told to subscribers is what came of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    act::{Act, Acts},
    state::{born, version},
    verdict::{Anomaly, Verdict},
};
use crate::{history::op::F, history::tape::Update, test::run::Run};

pub fn check(run: &Run) -> Verdict {
    let acts = Acts::of(run);
    let ending = &run.ending;
    if !ending.recovered || ending.nodes.is_empty() {
        let why = "the cluster did not recover, so nobody knows what it kept";
        return Verdict::of("durability", Vec::new()).unknown(why);
    }
    let mut judge = Judge { acts: &acts, run, anomalies: Vec::new(), compared: 0, missing: 0 };
    let mut certain = 0_usize;
    for (session, of) in acts.iter() {
        certain += of.iter().filter(|act| act.is_certain()).count();
        judge.acknowledged(session, of);
    }
    for (session, updates) in &run.tape.sessions {
        judge.told(session, updates);
    }
    let Judge { anomalies, compared, missing, .. } = judge;
    let verdict = Verdict::of("durability", anomalies)
        .with("acknowledged", certain)
        .with("sessions", acts.iter().count())
        .with("nodes", ending.nodes.len())
        .with("compared", compared);
    if 0 < missing {
        let why = format!("{missing} sessions were not read from some node at the end");
        return verdict.unknown(why);
    }
    if certain == 0 {
        return verdict.unknown("nothing was acknowledged");
    }
    verdict
}

struct Judge<'a> {
    acts: &'a Acts<'a>,
    run: &'a Run,
    anomalies: Vec<Anomaly>,
    compared: u64,
    /// Sessions that a node was not asked for.
    missing: u64,
}

impl<'a> Judge<'a> {
    /// The session at the end, by node.
    fn ends(&self, session: &str) -> BTreeMap<&'a str, &'a Value> {
        let nodes = self.run.ending.nodes.iter();
        let end = nodes.filter_map(|node| Some((node.name.as_str(), node.sessions.get(session)?)));
        end.collect()
    }

    /// Of each node only the first thing that is wrong: the rest follows from it.
    fn acknowledged(&mut self, session: &str, acts: &[Act<'_>]) {
        let ends = self.ends(session);
        self.missing += u64::from(ends.len() < self.run.ending.nodes.len());
        for (node, end) in ends {
            self.compared += 1;
            let wrong = acts.iter().filter(|act| act.is_certain()).find_map(|act| {
                let what =
                    if act.f == F::Delete { self.undeleted(act, end) } else { self.lost(act, end) };
                what.map(|what| (act, what))
            });
            if let Some((act, what)) = wrong {
                let mut anomaly =
                    Anomaly::new(what).session(session).node(node).ops([act.op.index]);
                (anomaly.version, anomaly.time_ns) = (act.version(), act.until_ns);
                self.anomalies.push(anomaly);
            }
        }
    }

    fn lost(&self, act: &Act<'_>, end: &Value) -> Option<String> {
        let (answer, word) = (act.answer?, act.f.as_str());
        let may_be_gone = self.acts.may_be_gone_after(act);
        if end.is_null() {
            return (!may_be_gone)
                .then(|| format!("a {word} was acknowledged, and there is no such session"));
        }
        match born(answer).filter(|birth| Some(*birth) != born(end)) {
            Some(_) if may_be_gone => return None,
            Some(birth) => {
                return Some(format!(
                    "a {word} of the session made at {birth} was acknowledged, and another one of \
                     that id is there, though nobody deleted it"
                ));
            }
            None => {}
        }
        // A switch is answered without the session's birth.
        if born(answer).is_none() && may_be_gone {
            return None;
        }
        let (told, kept) = (version(answer)?, version(end)?);
        (kept < told).then(|| {
            format!(
                "a {word} to version {told} was acknowledged, and the session is at version {kept}"
            )
        })
    }

    fn undeleted(&self, delete: &Act<'_>, end: &Value) -> Option<String> {
        (!end.is_null() && !self.acts.may_be_back_after(delete)).then(|| {
            String::from("a delete was acknowledged, nobody made the session anew, and it is there")
        })
    }

    /// What subscribers were told is what is there.
    fn told(&mut self, session: &str, updates: &[Update]) {
        let quiet_ns = self.run.ending.quiet_ns;
        // Nodes are asked after that, and clocks go on.
        let Some(last) = updates.iter().rev().find(|update| update.seen_ns <= quiet_ns) else {
            return;
        };
        let deletable = !self.acts.deletes(session).is_empty();
        for (node, end) in self.ends(session) {
            let what = match &last.state {
                None => undone(updates, end),
                Some(_) if end.is_null() => (!deletable)
                    .then(|| String::from("subscribers were told of a session that is not there")),
                Some(state) if born(state) != born(end) => (!deletable)
                    .then(|| String::from("subscribers were told of another session of that id")),
                Some(_) => differs(updates, last, end),
            };
            self.anomalies.extend(what.map(|what| {
                let anomaly = Anomaly::new(what).session(session).node(node);
                anomaly.at(last.revision, last.version).time(last.seen_ns)
            }));
        }
    }
}

/// Subscribers were told that the session is deleted, and it is still the same.
fn undone(updates: &[Update], end: &Value) -> Option<String> {
    let lives = updates.iter().rev().filter_map(|update| update.state.as_ref());
    let last = lives.take(1).find_map(born)?;
    (born(end) == Some(last))
        .then(|| String::from("subscribers were told that the session is deleted, and it is there"))
}

fn differs(updates: &[Update], last: &Update, end: &Value) -> Option<String> {
    let kept = version(end)?;
    if kept < last.version {
        return Some(format!(
            "subscribers were told of version {}, and the session is at version {kept}",
            last.version
        ));
    }
    let is_it = |update: &&Update| {
        let state = update.state.as_ref();
        update.version == kept && state.and_then(born) == born(end)
    };
    let told = updates.iter().rev().find(is_it)?;
    (told.state.as_ref() != Some(end))
        .then(|| format!("version {kept} is not what subscribers were told that it is"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::{
        example::{Example, reread},
        verdict::Validity,
    };

    /// Sessions that are played, deleted, and made anew.
    fn good() -> Example {
        let mut example = Example::started();
        example.write(F::Switch, "s", 300);
        example.create("gone", 400);
        example.write(F::Delete, "gone", 500);
        example.create("anew", 600);
        example.write(F::Delete, "anew", 700);
        example.create("anew", 800);
        example.write(F::Start, "anew", 900);
        example.expire("s", 1);
        example.write(F::Pause, "s", 61_000);
        example.open(F::Resume, "s", (61_100, 64_000));
        example.end(65_000);
        example
    }

    fn wrong(change: impl Fn(&mut Run)) -> Verdict {
        let mut run = good().run();
        change(&mut run);
        reread(&mut run);
        check(&run)
    }

    fn at_the_end(run: &mut Run, session: &str, change: impl Fn(&mut Value)) {
        change(run.ending.nodes[1].sessions.get_mut(session).unwrap());
    }

    #[test]
    fn what_was_kept_is_accepted() {
        let verdict = check(&good().run());
        assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
        assert_eq!(verdict.facts["acknowledged"], 10);
        // Open operations may or may not have taken effect.
        let mut example = good();
        example.open(F::Delete, "s", (62_000, 63_000));
        let mut run = example.run();
        for node in &mut run.ending.nodes {
            node.sessions.insert(String::from("s"), Value::Null);
        }
        assert_eq!(check(&run).valid, Validity::Valid);
    }

    #[test]
    fn what_was_lost_is_found() {
        let cases: [(&str, Verdict); 7] = [
            ("a version is lost", wrong(|run| at_the_end(run, "s", |s| s["version"] = json!(4)))),
            ("a session is lost", wrong(|run| at_the_end(run, "s", |s| *s = Value::Null))),
            (
                "a delete is lost",
                wrong(|run| {
                    let state = run.ending.nodes[0].sessions["s"].clone();
                    at_the_end(run, "gone", |s| *s = state.clone());
                }),
            ),
            (
                "the old one is back",
                wrong(|run| {
                    let old = run.tape.sessions["anew"][0].state.clone().unwrap();
                    at_the_end(run, "anew", |s| *s = old.clone());
                }),
            ),
            (
                "the content is another",
                wrong(|run| {
                    at_the_end(run, "s", |s| s["participants"][0]["time_used_ms"] = json!(1));
                }),
            ),
            (
                "another one is there",
                wrong(|run| {
                    at_the_end(run, "s", |s| s["created_at"] = json!("2026-09-21T14:26:40.000Z"));
                }),
            ),
            (
                "told and lost",
                wrong(|run| {
                    // Nobody was answered, but somebody was told.
                    run.events.retain(|event| event.f != "pause");
                    at_the_end(run, "s", |s| s["version"] = json!(4));
                }),
            ),
        ];
        for (case, verdict) in cases {
            assert_eq!(verdict.valid, Validity::Invalid, "{case}");
            assert!(verdict.anomalies.iter().all(|anomaly| anomaly.node.is_some()), "{case}");
        }
    }

    #[test]
    fn a_cluster_that_did_not_recover_proves_nothing() {
        assert_eq!(wrong(|run| run.ending.recovered = false).valid, Validity::Unknown);
        let unread = wrong(|run| drop(run.ending.nodes[2].sessions.remove("s")));
        assert_eq!(unread.valid, Validity::Unknown);
    }
}
