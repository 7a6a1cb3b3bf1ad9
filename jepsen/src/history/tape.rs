//! What subscribers were told, and the one history of every session that it adds up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of `ws/<subscriber>.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Nanoseconds since the test began, on the runner's monotonic clock.
    pub time: u64,
    /// Who listened; the file's name.
    pub subscriber: String,
    /// Counts the subscriber's connections, from 1.
    pub connection: u64,
    /// The node that was listened to: `n1`.
    pub node: String,
    pub what: What,
    /// The session that a `subscribe` is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Of a `subscribe` the version after which updates are asked for: `None` is "from now on".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// A message as it came; of a close `{"code", "reason"}`; of an open `{"url"}`.
    #[serde(default)]
    pub value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Open,
    /// The subscriber asked for a session, from `since`.
    Subscribe,
    Message,
    /// The connection ended, by a close frame or without one (code 1006).
    Close,
}

/// One change of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub session: String,
    pub revision: u64,
    /// Of a deletion, the version before it plus one.
    pub version: u64,
    pub cause: Value,
    /// `None` where the session was deleted.
    pub state: Option<Value>,
    /// When the first subscriber heard of it.
    pub seen_ns: u64,
    /// Who was the first.
    pub subscriber: String,
}

/// Two subscribers were told different things about one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    pub session: String,
    pub revision: u64,
    pub version: u64,
    pub subscribers: [String; 2],
    pub contents: [Value; 2],
}

/// Every change of every session that anybody heard of, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tape {
    /// By session, ordered by revision, then version. A session that was deleted and made anew
    /// begins again at version 1.
    pub sessions: BTreeMap<String, Vec<Update>>,
    pub conflicts: Vec<Conflict>,
}

impl Tape {
    /// Adds up what all subscribers heard.
    pub fn of<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Self {
        let mut updates: BTreeMap<(String, u64, u64), Update> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for frame in frames {
            let Some(update) = update_of(frame) else { continue };
            let key = (update.session.clone(), update.revision, update.version);
            let Some(known) = updates.get_mut(&key) else {
                updates.insert(key, update);
                continue;
            };
            if (&known.cause, &known.state) != (&update.cause, &update.state) {
                let content = |update: &Update| serde_json::json!({"cause": update.cause, "state": update.state});
                conflicts.push(Conflict {
                    session: update.session.clone(),
                    revision: update.revision,
                    version: update.version,
                    subscribers: [known.subscriber.clone(), update.subscriber.clone()],
                    contents: [content(known), content(&update)],
                });
            }
            if update.seen_ns < known.seen_ns {
                *known = update;
            }
        }
        let mut sessions: BTreeMap<String, Vec<Update>> = BTreeMap::new();
        for ((session, ..), update) in updates {
            sessions.entry(session).or_default().push(update);
        }
        for updates in sessions.values_mut() {
            number_deletions(updates);
        }
        Self { sessions, conflicts }
    }

    /// What is known of `version` of a session, of the latest incarnation that has it.
    pub fn version(&self, session: &str, version: u64) -> Option<&Update> {
        self.sessions.get(session)?.iter().rev().find(|update| update.version == version)
    }

    /// All updates, ordered by revision.
    pub fn in_order(&self) -> Vec<&Update> {
        let mut all: Vec<&Update> = self.sessions.values().flatten().collect();
        all.sort_by_key(|update| (update.revision, update.version));
        all
    }
}

/// Deletions come without a version: sorted by revision, they follow on what was there.
fn number_deletions(updates: &mut [Update]) {
    updates.sort_by_key(|update| (update.revision, update.version));
    let mut last = 0;
    for update in updates {
        if update.state.is_none() {
            update.version = last + 1;
            last = 0;
        } else {
            last = update.version;
        }
    }
}

/// A version for deletions that sorts them after everything else at their revision.
const AT_THE_END: u64 = u64::MAX;

/// The change that a message tells of.
pub fn update_of(frame: &Frame) -> Option<Update> {
    if frame.what != What::Message {
        return None;
    }
    let message = &frame.value;
    let kind = message["type"].as_str()?;
    let (state, version) = match kind {
        "STATE_UPDATE" => (Some(message["state"].clone()), message["version"].as_u64()?),
        "SESSION_DELETED" => (None, AT_THE_END),
        _ => return None,
    };
    Some(Update {
        session: message["sessionId"].as_str()?.to_owned(),
        revision: message["revision"].as_u64()?,
        version,
        cause: message["cause"].clone(),
        state,
        seen_ns: frame.time,
        subscriber: frame.subscriber.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(time: u64, subscriber: &str, value: Value) -> Frame {
        let (subscriber, node) = (subscriber.to_owned(), String::from("n1"));
        let (what, session, since) = (What::Message, None, None);
        Frame { time, subscriber, connection: 1, node, what, session, since, value }
    }

    fn update(version: u64, revision: u64, status: &str) -> Value {
        json!({
            "type": "STATE_UPDATE", "sessionId": "s", "version": version, "revision": revision,
            "cause": {"type": "switched"}, "state": {"status": status, "version": version},
        })
    }

    #[test]
    fn deletions_get_their_place_and_differences_are_found() {
        let frames = [
            told(5, "a", update(1, 10, "pending")),
            told(3, "b", update(1, 10, "pending")),
            told(6, "a", update(2, 11, "running")),
            told(7, "b", update(2, 11, "paused")),
            told(8, "a", json!({"type": "SESSION_DELETED", "sessionId": "s", "revision": 12})),
            told(9, "a", update(1, 13, "pending")),
        ];
        let tape = Tape::of(&frames);
        let versions: Vec<_> =
            tape.sessions["s"].iter().map(|u| (u.revision, u.version, u.seen_ns)).collect();
        assert_eq!(versions, [(10, 1, 3), (11, 2, 6), (12, 3, 8), (13, 1, 9)]);
        assert_eq!(tape.conflicts.len(), 1);
        assert_eq!(tape.conflicts[0].subscribers, ["a", "b"]);
    }
}
