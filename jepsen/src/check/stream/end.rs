//! Once the cluster is well, every observer gets to the end: it is told of the last version of each
//! session that it follows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Known;
use crate::{
    check::{
        state::{SECOND, born, signed, stamp_ms, version},
        verdict::Anomaly,
    },
    history::tape::{Frame, What},
};

/// A harness that leaves sooner after the last change cannot tell late from lost.
const PATIENCE_NS: u64 = 2 * SECOND;

pub(super) struct End {
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) compared: u64,
    pub(super) unknown: Option<String>,
}

/// What an observer had of a session when it left.
#[derive(Default)]
struct Last<'a> {
    version: Option<u64>,
    state: Option<&'a Value>,
    deleted: bool,
}

pub(super) fn check(known: &Known<'_>, subscribers: &BTreeMap<&str, Vec<&Frame>>) -> End {
    let mut end = End { anomalies: Vec::new(), compared: 0, unknown: None };
    let ending = &known.run.ending;
    let Some(node) = ending.nodes.first().filter(|_| ending.recovered) else {
        end.unknown = Some(String::from("the cluster did not recover, so there is no end"));
        return end;
    };
    for (name, frames) in subscribers.iter().filter(|(name, _)| name.starts_with("observer")) {
        let left_ns = left_ns(frames);
        // Whoever was cut off before that is told of the rest by nobody.
        if left_ns.is_some_and(|left| left < ending.quiet_ns) {
            continue;
        }
        for (session, last) in had(frames) {
            let Some(state) = node.sessions.get(session) else { continue };
            end.compared += 1;
            let Some(what) = last.lacks(state) else { continue };
            if is_hasty(known, state, left_ns) {
                end.unknown =
                    Some(format!("{name} left too soon to be told of the end of {session}"));
                continue;
            }
            let mut anomaly = Anomaly::new(format!("{name} {what}")).session(session);
            anomaly.version = version(state);
            end.anomalies.push(anomaly);
        }
    }
    end
}

/// When the last connection ended, where it did.
fn left_ns(frames: &[&Frame]) -> Option<u64> {
    frames.last().filter(|frame| frame.what == What::Close).map(|frame| frame.time)
}

/// Was the last change so late that it need not have arrived?
fn is_hasty(known: &Known<'_>, state: &Value, left_ns: Option<u64>) -> bool {
    let ending = &known.run.ending;
    let frames = known.run.frames.last().map_or(0, |frame| frame.time);
    let left_ns = left_ns.unwrap_or(frames.max(ending.quiet_ns));
    if left_ns < ending.quiet_ns.saturating_add(PATIENCE_NS) {
        return true;
    }
    // Clocks go on when clients have stopped.
    let changed = stamp_ms(state, "updated_at");
    let changed = changed.and_then(|ms| known.runner_ns(ms));
    changed.is_some_and(|at| signed(left_ns.saturating_sub(PATIENCE_NS)) < at)
}

/// What the subscriber had of each session that it followed on its last connection.
fn had<'a>(frames: &[&'a Frame]) -> BTreeMap<&'a str, Last<'a>> {
    let mut had: BTreeMap<&str, Last<'a>> = BTreeMap::new();
    for frame in frames {
        match frame.what {
            What::Open => had.clear(),
            What::Close => {}
            What::Subscribe => {
                if let Some(session) = &frame.session {
                    let version = frame.since;
                    had.insert(session, Last { version, ..Last::default() });
                }
            }
            What::Message => {
                let message = &frame.value;
                let Some(session) = message["sessionId"].as_str() else { continue };
                let Some(last) = had.get_mut(session) else { continue };
                match message["type"].as_str().unwrap_or_default() {
                    "STATE_UPDATE" | "STATE_SYNC" => {
                        let version = message["version"].as_u64();
                        let state = Some(&message["state"]);
                        *last = Last { version, state, deleted: false };
                    }
                    "SESSION_DELETED" => last.deleted = true,
                    "UNSUBSCRIBED" => {
                        had.remove(session);
                    }
                    _ => {}
                }
            }
        }
    }
    had
}

impl Last<'_> {
    /// What it was not told, where the session ended like this.
    fn lacks(&self, end: &Value) -> Option<String> {
        if end.is_null() {
            // One that never was is nothing to tell of.
            let knew = self.state.is_some() || self.version.is_some_and(|version| version != 0);
            return (knew && !self.deleted)
                .then(|| String::from("was not told of the end of a session that is gone"));
        }
        // After the end of a session nothing is told of another one of that id.
        if self.deleted {
            return None;
        }
        let last = version(end)?;
        match (self.version, self.state) {
            // Only what is new was asked for, and nothing was.
            (None, _) => None,
            (Some(_), Some(state)) if born(state) != born(end) => {
                Some(String::from("was not told that the session was made anew"))
            }
            (Some(told), _) => (told < last)
                .then(|| format!("was told of versions up to {told}, and {last} is the last")),
        }
    }
}
