//! Promise P5: a subscriber is told every version of a session once and in order, goes on without a
//! gap after a reconnect or is given the whole state, and is never told something stale.

mod end;
mod follow;
mod order;
mod silence;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::follow::Follower;
use super::{
    act::Acts,
    state::{MS, born, signed},
    verdict::{Anomaly, Verdict},
};
use crate::{
    history::tape::{Conflict, Frame, Update, What},
    test::run::Run,
};

/// What all parts of this checker look things up in.
struct Known<'a> {
    run: &'a Run,
    acts: Acts<'a>,
    /// Every version on the tape, by session, version and birth.
    versions: BTreeMap<(&'a str, u64, &'a str), &'a Update>,
}

/// What was looked at.
#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    resumes: u64,
    updates: u64,
    syncs: u64,
    deletions: u64,
    stale: u64,
    /// Closed for being slow.
    slow: u64,
    /// Messages about sessions that were not asked for on that connection.
    unasked: u64,
}

pub fn check(run: &Run) -> Verdict {
    let known = Known::of(run);
    let mut anomalies = conflicts(run);
    anomalies.extend(order::check(run));
    let mut counts = Counts::default();
    let subscribers = by_subscriber(run);
    for (name, frames) in &subscribers {
        let mut follower = Follower::new(&known, name);
        for frame in frames {
            counts.take(frame);
            follower.take(frame, &mut anomalies);
        }
        counts.unasked += follower.unasked;
    }
    let silence = silence::check(&known, &subscribers);
    anomalies.extend(silence.anomalies);
    let end = end::check(&known, &subscribers);
    anomalies.extend(end.anomalies);
    let mut verdict = Verdict::of("stream", anomalies)
        .with("subscribers", subscribers.len())
        .with("connections", counts.connections)
        .with("resumes", counts.resumes)
        .with("updates", counts.updates)
        .with("syncs", counts.syncs)
        .with("deletions", counts.deletions)
        .with("stale", counts.stale)
        .with("slow", counts.slow)
        .with("unasked", counts.unasked)
        .with("versions", run.tape.sessions.values().map(Vec::len).sum::<usize>())
        .with("longest_delay_ms", silence.longest_ms)
        .with("ends_compared", end.compared);
    if let Some(why) = end.unknown {
        verdict = verdict.unknown(why);
    }
    if run.tape.sessions.is_empty() {
        verdict = verdict.unknown("nobody was told of anything");
    }
    verdict
}

/// Two subscribers were told different things.
fn conflicts(run: &Run) -> Vec<Anomaly> {
    let conflict = |conflict: &Conflict| {
        let [a, b] = &conflict.subscribers;
        let [told_a, told_b] = &conflict.contents;
        let difference = difference(told_a, told_b);
        Anomaly::new(format!("{a} and {b} were told different things of one version: {difference}"))
            .session(&conflict.session)
            .at(conflict.revision, conflict.version)
    };
    run.tape.conflicts.iter().map(conflict).collect()
}

/// The first place at which two values differ.
fn difference(a: &Value, b: &Value) -> String {
    match (a, b) {
        (Value::Object(in_a), Value::Object(in_b)) => {
            let keys: BTreeSet<&String> = in_a.keys().chain(in_b.keys()).collect();
            let differs = |key: &&String| in_a.get(*key) != in_b.get(*key);
            keys.into_iter().find(differs).map_or_else(String::new, |key| {
                format!("{key} {}", difference(&a[key.as_str()], &b[key.as_str()]))
            })
        }
        (Value::Array(in_a), Value::Array(in_b)) if in_a.len() == in_b.len() => {
            let differs = in_a.iter().zip(in_b).position(|(a, b)| a != b).unwrap_or(0);
            format!("{differs} {}", difference(&in_a[differs], &in_b[differs]))
        }
        _ => format!("{a} and {b}"),
    }
}

fn by_subscriber(run: &Run) -> BTreeMap<&str, Vec<&Frame>> {
    let mut subscribers: BTreeMap<&str, Vec<&Frame>> = BTreeMap::new();
    for frame in &run.frames {
        subscribers.entry(frame.subscriber.as_str()).or_default().push(frame);
    }
    subscribers
}

impl<'a> Known<'a> {
    fn of(run: &'a Run) -> Self {
        let mut versions = BTreeMap::new();
        for update in run.tape.sessions.values().flatten() {
            if let Some(birth) = update.state.as_ref().and_then(born) {
                versions.insert((update.session.as_str(), update.version, birth), update);
            }
        }
        Self { run, acts: Acts::of(run), versions }
    }

    /// The last change of a session that anybody had heard of by then.
    fn newest_by(&self, session: &str, time_ns: u64) -> Option<&'a Update> {
        let updates = self.run.tape.sessions.get(session)?;
        updates.iter().rev().find(|update| update.seen_ns < time_ns)
    }

    /// How the session looked at this version, of this life.
    fn at(&self, session: &str, version: u64, birth: &str) -> Option<&'a Update> {
        self.versions.get(&(session, version, birth)).copied()
    }

    /// About when cluster time was that, on the runner's clock.
    fn runner_ns(&self, cluster_ms: i64) -> Option<i64> {
        let samples = self.run.samples.iter();
        let last = samples.filter(|sample| sample.answered && 0 < sample.cluster_time_ms);
        let last = last.max_by_key(|sample| sample.time)?;
        let ahead_ms = i64::try_from(last.cluster_time_ms).ok()? - cluster_ms;
        Some(signed(last.time).saturating_sub(ahead_ms.saturating_mul(MS)))
    }
}

impl Counts {
    fn take(&mut self, frame: &Frame) {
        match frame.what {
            What::Open => self.connections += 1,
            What::Subscribe => self.resumes += u64::from(frame.since.is_some_and(|v| 0 < v)),
            What::Close => self.slow += u64::from(frame.value["code"] == json!(4008)),
            What::Message => match frame.value["type"].as_str().unwrap_or_default() {
                "STATE_UPDATE" => self.updates += 1,
                "STATE_SYNC" => self.syncs += 1,
                "SESSION_DELETED" => self.deletions += 1,
                "STALE" => self.stale += 1,
                _ => {}
            },
        }
    }
}
