//! Lists are whole (B15): a scan over all pages has every session that was there all the while,
//! once, and none that was gone before it began.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    act::{Act, Acts},
    state::{born, version},
    verdict::{Anomaly, Verdict},
};
use crate::{
    history::{
        op::F,
        pair::{Op, Outcome},
    },
    test::run::Run,
};

pub fn check(run: &Run) -> Verdict {
    let acts = Acts::of(run);
    let mut anomalies = Vec::new();
    let pages: Vec<Page<'_>> = run.ops.iter().filter_map(Page::of).collect();
    anomalies.extend(pages.iter().flat_map(Page::wrong));
    let scans = Scan::all(&pages);
    for scan in &scans {
        anomalies.extend(scan.twice());
        anomalies.extend(scan.missing(run, &acts));
        anomalies.extend(scan.dead(&acts));
    }
    anomalies.extend(at_the_end(run));
    let filtered = scans.iter().filter(|scan| scan.status.is_some()).count();
    let verdict = Verdict::of("lists", anomalies)
        .with("pages", pages.len())
        .with("scans", scans.len())
        .with("scans_by_status", filtered)
        .with("listed", scans.iter().map(|scan| scan.listed.len()).sum::<usize>());
    if scans.is_empty() && run.ending.nodes.iter().all(|node| node.sessions.is_empty()) {
        return verdict.unknown("there is no list to look at");
    }
    verdict
}

/// One page that was answered.
struct Page<'a> {
    op: &'a Op,
    returned_ns: u64,
    sessions: Vec<&'a Value>,
    next: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn of(op: &'a Op) -> Option<Self> {
        let Outcome::Ok { value, .. } = &op.outcome else { return None };
        let returned_ns = op.returned_ns.filter(|_| op.f == F::List)?;
        let sessions = value["data"].as_array()?.iter().collect();
        Some(Self { op, returned_ns, sessions, next: value["next_cursor"].as_str() })
    }

    fn asked(&self, field: &str) -> Option<&'a str> {
        self.op.request[field].as_str()
    }

    fn ids(&self) -> impl Iterator<Item = &'a str> {
        self.sessions.iter().filter_map(|session| session["session_id"].as_str())
    }

    fn wrong(&self) -> Vec<Anomaly> {
        let mut wrong = Vec::new();
        let mut add = |what: String| {
            wrong.push(
                Anomaly::new(what).node(&self.op.node).time(self.returned_ns).ops([self.op.index]),
            );
        };
        let limit = self.op.request["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        if let Some(limit) = limit.filter(|limit| *limit < self.sessions.len()) {
            add(format!("a page of {limit} sessions has {}", self.sessions.len()));
        }
        if let Some(status) = self.asked("status") {
            let others = self.sessions.iter().filter(|session| session["status"] != status);
            for other in others {
                let (id, has) = (&other["session_id"], &other["status"]);
                add(format!("a list of {status} sessions has {id}, which is {has}"));
            }
        }
        wrong
    }
}

/// All pages of one walk through the sessions.
struct Scan<'a> {
    status: Option<&'a str>,
    began_ns: u64,
    ended_ns: u64,
    listed: Vec<&'a str>,
    ops: Vec<u64>,
}

impl<'a> Scan<'a> {
    /// The complete ones that had the latest state: from a page without a cursor, each going on
    /// where the one before ended, to one without a next page.
    fn all(pages: &[Page<'a>]) -> Vec<Self> {
        let mut by_scan: BTreeMap<&str, Vec<&Page<'a>>> = BTreeMap::new();
        for page in pages {
            let is_latest = page.asked("consistency").is_none_or(|word| word != "stale");
            if let Some(scan) = page.asked("scan").filter(|_| is_latest) {
                by_scan.entry(scan).or_default().push(page);
            }
        }
        by_scan.into_values().filter_map(|pages| Self::of(&pages)).collect()
    }

    fn of(pages: &[&Page<'a>]) -> Option<Self> {
        let first = pages.iter().find(|page| page.asked("cursor").is_none())?;
        let mut scan = Self {
            status: first.asked("status"),
            began_ns: first.op.invoked_ns,
            ended_ns: first.returned_ns,
            listed: Vec::new(),
            ops: Vec::new(),
        };
        let mut page = first;
        for _ in pages {
            scan.listed.extend(page.ids());
            scan.ops.push(page.op.index);
            scan.ended_ns = scan.ended_ns.max(page.returned_ns);
            let Some(next) = page.next else { return Some(scan) };
            page = pages.iter().find(|page| page.asked("cursor") == Some(next))?;
        }
        None
    }

    fn anomaly(&self, what: String, session: &str) -> Anomaly {
        Anomaly::new(what).session(session).time(self.began_ns).ops(self.ops.iter().copied())
    }

    fn twice(&self) -> Vec<Anomaly> {
        let mut seen = BTreeSet::new();
        let again = self.listed.iter().filter(|session| !seen.insert(**session));
        again.map(|session| self.anomaly(String::from("it was listed twice"), session)).collect()
    }

    /// Sessions that were there from before it began until after it ended.
    fn missing(&self, run: &Run, acts: &Acts<'_>) -> Vec<Anomaly> {
        let listed: BTreeSet<&str> = self.listed.iter().copied().collect();
        let mut missing = Vec::new();
        for (session, of) in acts.iter().filter(|(session, _)| !listed.contains(session)) {
            let stood = of.iter().find(|act| match self.status {
                None => act.f == F::Create && self.saw(act, acts),
                Some(status) => is_final(run, act, status) && self.saw(act, acts),
            });
            missing.extend(stood.map(|act| {
                let what = match self.status {
                    None => String::from("it was made before, was not deleted, and was not listed"),
                    Some(status) => format!("it was {status} all the while, and was not listed"),
                };
                self.anomaly(what, session).ops([act.op.index])
            }));
        }
        missing
    }

    /// Was the act acknowledged before it began, and the session there until it ended?
    fn saw(&self, act: &Act<'_>, acts: &Acts<'_>) -> bool {
        let before = act.is_certain() && act.until_ns.is_some_and(|until| until < self.began_ns);
        let mut deletes = acts.deletes(act.session).iter();
        before
            && !deletes.any(|delete| delete.from_ns <= self.ended_ns && delete.may_come_after(act))
    }

    /// Sessions that were certainly gone when it began, and made anew by nobody.
    fn dead(&self, acts: &Acts<'_>) -> Vec<Anomaly> {
        let mut dead = Vec::new();
        for session in self.listed.iter().copied().collect::<BTreeSet<_>>() {
            let gone = acts.deletes(session).iter().find(|act| {
                let before = act.until_ns.is_some_and(|until| until < self.began_ns);
                act.is_certain() && before && !acts.may_be_back_after(act)
            });
            dead.extend(gone.map(|delete| {
                let what = String::from("it was deleted before, and listed");
                self.anomaly(what, session).ops([delete.op.index])
            }));
        }
        dead
    }
}

/// Did the act bring the session to how it was at the end of the test?
fn is_final(run: &Run, act: &Act<'_>, status: &str) -> bool {
    let (Some(answer), Some(node)) = (act.answer, run.ending.nodes.first()) else { return false };
    let end = node.sessions.get(act.session);
    end.is_some_and(|end| {
        end["status"] == status
            && version(answer).is_some()
            && version(answer) == version(end)
            && born(answer).is_some()
            && born(answer) == born(end)
    })
}

/// What each node listed at the end is what it had.
fn at_the_end(run: &Run) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    if !run.ending.recovered {
        return anomalies;
    }
    for node in &run.ending.nodes {
        let mut add = |what: &str, session: &str| {
            anomalies.push(Anomaly::new(what).session(session).node(&node.name));
        };
        let listed: BTreeSet<&str> = node.listed.iter().map(String::as_str).collect();
        if listed.len() < node.listed.len() {
            let mut seen = BTreeSet::new();
            for again in node.listed.iter().filter(|session| !seen.insert(session.as_str())) {
                add("it was listed twice at the end", again);
            }
        }
        for (session, state) in &node.sessions {
            match (state.is_null(), listed.contains(session.as_str())) {
                (false, false) => add("it is there at the end, and is not listed", session),
                (true, true) => add("it is listed at the end, and is not there", session),
                (false, true) | (true, false) => {}
            }
        }
        for session in listed {
            if !node.sessions.contains_key(session) {
                add("it is listed at the end, and nobody ever named it", session);
            }
        }
    }
    anomalies
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::{
        example::{Example, reread},
        verdict::Validity,
    };

    /// One page: what was asked, and the answer's sessions and next cursor.
    fn page(example: &mut Example, asked: Value, at: u64, (ids, next): (&[&str], Option<&str>)) {
        let state = |id: &&str| {
            let mut state = example.state("a");
            state["session_id"] = json!(id);
            state
        };
        let data: Vec<Value> = ids.iter().map(state).collect();
        let answer = json!({"data": data, "next_cursor": next});
        example.op((F::List, None), asked, (at, at + 5), Ok(answer));
    }

    /// Sessions a to e, of which c is deleted while a scan goes on, and d before another.
    fn good(second_page: &[&str]) -> Example {
        let mut example = Example::new();
        for (session, at) in ["a", "b", "c", "d", "e"].into_iter().zip((100..).step_by(10)) {
            example.create(session, at);
        }
        page(&mut example, json!({"limit": 2, "scan": "x"}), 200, (&["a", "b"], Some("b")));
        example.write(F::Delete, "c", 210);
        let asked = json!({"limit": 2, "scan": "x", "cursor": "b"});
        page(&mut example, asked, 220, (second_page, Some("d")));
        let asked = json!({"limit": 2, "scan": "x", "cursor": "d"});
        page(&mut example, asked, 230, (&["e"], None));
        example.write(F::Delete, "d", 300);
        page(&mut example, json!({"limit": 9, "scan": "y"}), 310, (&["a", "b", "e"], None));
        let asked = json!({"limit": 9, "scan": "z", "status": "pending"});
        page(&mut example, asked, 320, (&["a", "b", "e"], None));
        // One that was not walked to its end, and one that may be old.
        page(&mut example, json!({"limit": 1, "scan": "v"}), 330, (&["a"], Some("a")));
        let stale = json!({"limit": 9, "scan": "w", "consistency": "stale"});
        page(&mut example, stale, 340, (&["a"], None));
        example.end(400);
        example
    }

    fn wrong(change: impl Fn(&mut Run)) -> Verdict {
        let mut run = good(&["c", "d"]).run();
        change(&mut run);
        reread(&mut run);
        check(&run)
    }

    /// Changes the answer's sessions of the page that ended then.
    fn at(run: &mut Run, ms: u64, change: impl Fn(&mut Vec<Value>)) {
        let event = run.events.iter_mut().find(|event| event.time == ms * 1_000_000).unwrap();
        change(event.value["data"].as_array_mut().unwrap());
    }

    #[test]
    fn whole_lists_are_accepted() {
        for second_page in [&["c", "d"][..], &["d"]] {
            let verdict = check(&good(second_page).run());
            assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
            assert_eq!(verdict.facts["scans"], 3);
        }
        // Whoever may have been deleted may be missing.
        let mut example = good(&["d"]);
        example.open(F::Delete, "b", (305, 399));
        let mut run = example.run();
        at(&mut run, 315, |data| drop(data.remove(1)));
        at(&mut run, 325, |data| drop(data.remove(1)));
        reread(&mut run);
        assert_eq!(check(&run).valid, Validity::Valid);
    }

    #[test]
    fn lists_with_holes_are_found() {
        let cases = [
            ("missing", wrong(|run| at(run, 225, |data| drop(data.pop())))),
            ("missing at a page's begin", wrong(|run| at(run, 235, Vec::clear))),
            (
                "twice",
                wrong(|run| {
                    at(run, 235, |data| {
                        let mut again = data[0].clone();
                        again["session_id"] = json!("a");
                        data.push(again);
                    })
                }),
            ),
            (
                "dead",
                wrong(|run| {
                    at(run, 315, |data| {
                        let mut dead = data[0].clone();
                        dead["session_id"] = json!("d");
                        data.push(dead);
                    })
                }),
            ),
            (
                "other status",
                wrong(|run| {
                    at(run, 325, |data| data[0]["status"] = json!("running"));
                }),
            ),
            ("missing of its status", wrong(|run| at(run, 325, |data| drop(data.pop())))),
            (
                "too many",
                wrong(|run| {
                    let asked = run.events.iter_mut().find(|event| event.time == 200_000_000);
                    asked.unwrap().value["limit"] = json!(1);
                }),
            ),
            ("not listed at the end", wrong(|run| drop(run.ending.nodes[1].listed.pop()))),
            ("listed and gone", wrong(|run| run.ending.nodes[1].listed.push(String::from("c")))),
            (
                "listed and nobody's",
                wrong(|run| run.ending.nodes[1].listed.push(String::from("?"))),
            ),
            ("listed twice", wrong(|run| run.ending.nodes[1].listed.push(String::from("a")))),
        ];
        for (case, verdict) in cases {
            assert_eq!(verdict.anomalies.len(), 1, "{case}: {:?}", verdict.anomalies);
        }
    }

    #[test]
    fn nothing_to_look_at_is_unknown() {
        assert_eq!(check(&Example::new().run()).valid, Validity::Unknown);
    }
}
