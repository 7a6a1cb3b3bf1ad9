//! One subscriber, from its first connection to its last: whether what it was told of each session
//! is what it asked for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Known;
use crate::{
    check::{state::born, verdict::Anomaly},
    history::tape::{Frame, Update, What},
};

/// What a subscriber has of a session.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The last version that it was told of, or says that it has; `None` while any may come.
    version: Option<u64>,
    revision: Option<u64>,
    birth: Option<String>,
    /// It was told of something since it asked.
    heard: bool,
    /// When the node had told all that there was: it went on to something else.
    caught_up_ns: Option<u64>,
    /// The session is gone; nothing more is told of it, but of another one of that id.
    ended: bool,
    /// When it asked.
    asked_ns: u64,
}

pub(super) struct Follower<'a> {
    known: &'a Known<'a>,
    name: &'a str,
    /// By session, on the connection that it has.
    places: BTreeMap<String, Place>,
    /// Asked for anew while the session was told of: from the node's `SUBSCRIBED` on.
    pending: BTreeMap<String, Place>,
    /// The last one that the node began to tell of.
    beginning: Option<String>,
    pub(super) unasked: u64,
}

impl<'a> Follower<'a> {
    pub(super) fn new(known: &'a Known<'a>, name: &'a str) -> Self {
        let (places, pending) = (BTreeMap::new(), BTreeMap::new());
        Self { known, name, places, pending, beginning: None, unasked: 0 }
    }

    pub(super) fn take(&mut self, frame: &Frame, anomalies: &mut Vec<Anomaly>) {
        match frame.what {
            What::Open | What::Close => {
                self.places.clear();
                self.pending.clear();
                self.beginning = None;
            }
            What::Subscribe => self.subscribe(frame),
            What::Message => self.hear(frame, anomalies),
        }
    }

    fn subscribe(&mut self, frame: &Frame) {
        let Some(session) = &frame.session else { return };
        let place = self.asked(session, frame);
        let is_live = self.places.get(session).is_some_and(|place| !place.ended);
        if !is_live {
            self.places.insert(session.clone(), place);
        } else if place.version.is_some() {
            self.pending.insert(session.clone(), place);
        }
    }

    /// What the subscriber says that it has.
    fn asked(&self, session: &str, frame: &Frame) -> Place {
        let (version, asked_ns) = (frame.since, frame.time);
        let revision = frame.value["revision"].as_u64();
        // The life that it means: the one that had this version at this revision.
        let updates = self.known.run.tape.sessions.get(session);
        let meant = updates
            .into_iter()
            .flatten()
            .find(|update| Some(update.version) == version && Some(update.revision) == revision);
        let birth = meant.and_then(|update| update.state.as_ref().and_then(born));
        let birth = birth.map(str::to_owned);
        Place { version, revision, birth, asked_ns, ..Place::default() }
    }

    fn hear(&mut self, frame: &Frame, anomalies: &mut Vec<Anomaly>) {
        let message = &frame.value;
        let Some(session) = message["sessionId"].as_str() else { return };
        self.note_begun(session, frame.time);
        let found = match message["type"].as_str().unwrap_or_default() {
            "SUBSCRIBED" => {
                if let Some(place) = self.pending.remove(session) {
                    self.places.insert(session.to_owned(), place);
                }
                self.beginning = Some(session.to_owned());
                return;
            }
            "UNSUBSCRIBED" => {
                self.places.remove(session);
                self.pending.remove(session);
                return;
            }
            "STATE_UPDATE" => self.update(session, message),
            "STATE_SYNC" => self.sync(session, message),
            "SESSION_DELETED" => self.deleted(session, message),
            // A warning has no version of its own; the others are not about what happened.
            _ => return,
        };
        anomalies.extend(found.map(|what| {
            let mut anomaly = Anomaly::new(format!("{}: {what}", self.name)).session(session);
            anomaly = anomaly.node(&frame.node).time(frame.time);
            anomaly.version = message["version"].as_u64();
            anomaly.revision = message["revision"].as_u64();
            anomaly
        }));
    }

    /// A node tells of one session after the other.
    fn note_begun(&mut self, session: &str, time_ns: u64) {
        let before = self.beginning.take_if(|before| before.as_str() != session);
        if let Some(place) = before.and_then(|before| self.places.get_mut(&before)) {
            place.caught_up_ns.get_or_insert(time_ns);
        }
    }

    fn update(&mut self, session: &str, message: &Value) -> Option<String> {
        let (Some(version), Some(revision)) =
            (message["version"].as_u64(), message["revision"].as_u64())
        else {
            return Some(String::from("an update without version or revision"));
        };
        let state = &message["state"];
        let Some(place) = self.places.get_mut(session) else {
            self.unasked += 1;
            return None;
        };
        let before = place.clone();
        place.version = Some(version);
        place.revision = Some(revision);
        place.birth = born(state).map(str::to_owned);
        (place.heard, place.ended) = (true, false);
        wrong_in(session, version, state).or_else(|| before.wrong_next(version, revision, state))
    }

    fn sync(&mut self, session: &str, message: &Value) -> Option<String> {
        let state = &message["state"];
        let Some(version) = message["version"].as_u64() else {
            return Some(String::from("a whole state without its version"));
        };
        let Some(place) = self.places.get_mut(session) else {
            self.unasked += 1;
            return None;
        };
        let before = place.clone();
        place.version = Some(version);
        place.revision = message["revision"].as_u64();
        place.birth = born(state).map(str::to_owned);
        (place.heard, place.ended) = (true, false);
        wrong_in(session, version, state)
            .or_else(|| before.wrong_state(version, message))
            .or_else(|| self.stale(session, message, before.asked_ns))
            .or_else(|| self.other_content(session, version, state))
    }

    /// A state is told once a majority confirmed it: it is as new as anything that anybody had
    /// been told of when it was asked for.
    fn stale(&self, session: &str, message: &Value, asked_ns: u64) -> Option<String> {
        let newest = self.known.newest_by(session, asked_ns)?;
        let (version, birth) = (message["version"].as_u64()?, born(&message["state"])?);
        let is_old = match &newest.state {
            Some(state) if born(state) == Some(birth) => version < newest.version,
            // Of another life: later or earlier, as the revisions tell.
            Some(_) | None => message["revision"].as_u64().is_some_and(|at| at < newest.revision),
        };
        is_old.then(|| {
            let then = newest.version;
            format!("the whole state at version {version}, where {then} was known when it asked")
        })
    }

    fn other_content(&self, session: &str, version: u64, state: &Value) -> Option<String> {
        let update = self.known.at(session, version, born(state)?)?;
        let told = update.state.as_ref().filter(|told| *told != state)?;
        let difference = super::difference(told, state);
        Some(format!(
            "the whole state at version {version} is not what that update said: {difference}"
        ))
    }

    fn deleted(&mut self, session: &str, message: &Value) -> Option<String> {
        let Some(place) = self.places.get_mut(session) else {
            self.unasked += 1;
            return None;
        };
        let revision = message["revision"].as_u64();
        let before = place.clone();
        place.ended = true;
        place.revision = revision.or(place.revision);
        if self.known.acts.deletes(session).is_empty() {
            return Some(String::from("told of the end of a session that nobody deleted"));
        }
        if before.ended {
            return Some(String::from("told twice of the end of a session"));
        }
        let is_early = |(at, last): (u64, u64)| at < last;
        if revision.zip(before.revision).is_some_and(is_early) {
            return Some(String::from("the end of a session came after what happened later"));
        }
        self.missed_before_the_end(session, &before, revision?)
    }

    /// Who was told of a session is told of all that came before its end. Who was not may have
    /// asked when it was gone already, unless it was deleted after that.
    fn missed_before_the_end(&self, session: &str, place: &Place, end: u64) -> Option<String> {
        let deletes = self.known.acts.deletes(session).iter();
        let deletes = deletes.filter(|delete| delete.may_follow(place.asked_ns));
        let deleted_ns = deletes.map(|delete| delete.from_ns).min().unwrap_or(0);
        let was_there = place.caught_up_ns.is_some_and(|caught_up| caught_up < deleted_ns);
        let told = place.version.filter(|_| place.heard || was_there)?;
        let updates = self.known.run.tape.sessions.get(session)?;
        let before_it = |update: &&Update| update.state.is_some() && update.revision <= end;
        let last = updates.iter().rev().find(before_it)?;
        let birth = last.state.as_ref().and_then(born);
        let same_life = place.birth.is_none() || birth == place.birth.as_deref();
        (same_life && told < last.version)
            .then(|| format!("the end of a session after version {told}: {} is missing", told + 1))
    }
}

/// Does a message fit together by itself?
fn wrong_in(session: &str, version: u64, state: &Value) -> Option<String> {
    if state["version"] != version {
        return Some(format!("version {version} with the state at version {}", state["version"]));
    }
    (state["session_id"] != session)
        .then(|| format!("the state of {} in a message about another session", state["session_id"]))
}

impl Place {
    /// What is wrong with this update as the next one.
    fn wrong_next(&self, version: u64, revision: u64, state: &Value) -> Option<String> {
        if let Some(last) = self.revision.filter(|last| revision < *last) {
            return Some(format!("revision {revision} after revision {last}"));
        }
        if self.ended {
            return (version != 1).then(|| {
                format!("version {version} after the end of the session, where 1 is the first")
            });
        }
        let last = self.version?;
        if version <= last {
            let what = if version == last { "repeated" } else { "gone back to" };
            return Some(format!("version {version} was {what} after version {last}"));
        }
        if last + 1 < version {
            return Some(format!(
                "version {version} after version {last}: {} is missing",
                last + 1
            ));
        }
        let birth = self.birth.as_deref().filter(|birth| Some(*birth) != born(state));
        birth.map(|_| {
            format!("version {version} of another session of that id after version {last}")
        })
    }

    /// What is wrong with the whole state here.
    fn wrong_state(&self, version: u64, message: &Value) -> Option<String> {
        let last = self.version?;
        if self.ended {
            return None;
        }
        if message["resumed"] == true {
            return (version != last).then(|| {
                format!("the state at version {version} is said to follow on version {last}")
            });
        }
        let same_life =
            self.birth.as_deref().is_some_and(|birth| Some(birth) == born(&message["state"]));
        (same_life && version < last)
            .then(|| format!("the whole state at version {version} after version {last}"))
    }
}
