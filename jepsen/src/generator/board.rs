//! What clients know of the sessions, so that what they do next makes sense.
//!
//! It may be out of date, as a client's screen is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::Step;
use crate::{
    client::outcome::Completion,
    history::op::{F, Kind},
};

/// A session as the last answer about it had it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub session: String,
    /// The body that made it.
    pub made_of: Value,
    pub participants: Vec<String>,
    pub version: u64,
    pub status: String,
    pub active: Option<String>,
    pub deadline_ms: Option<u64>,
    /// How often it was said not to be there, though its creation may still be under way.
    pub missed: u32,
    /// Nobody begins anything on it any more.
    pub left: bool,
}

#[derive(Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<String, Known>,
    /// Sessions that a request was about; not all of them ever were.
    named: BTreeSet<String>,
    /// Cluster time minus the runner's clock, in milliseconds, as the last answer had it.
    offset_ms: Option<i64>,
    /// Requests under a key that others may send again.
    keyed: Vec<Step>,
}

/// One that is missed more often was never made.
const MISSED_MAX: u32 = 5;

/// Keys that are sent again and again; older ones are left.
const KEYED_MAX: usize = 64;

impl Board {
    /// A session is about to be made of this body.
    pub fn announce(&self, body: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let Some(session) = text(&body["session_id"]) else { return };
        let seats = body["participants"].as_array();
        let participants =
            seats.into_iter().flatten().filter_map(|seat| text(&seat["participant_id"])).collect();
        let known = Known {
            session: session.clone(),
            made_of: body.clone(),
            participants,
            version: 0,
            status: String::from("unknown"),
            active: None,
            deadline_ms: None,
            missed: 0,
            left: false,
        };
        let mut inner = self.lock();
        inner.named.insert(session.clone());
        inner.sessions.insert(session, known);
    }

    /// A request is about to be made that is about this session, whether there is one or not.
    pub fn name(&self, session: &str) {
        self.lock().named.insert(session.to_owned());
    }

    /// Learns from an answer.
    pub fn learn(&self, step: &Step, completion: &Completion, now_ns: u64) {
        let mut inner = self.lock();
        match (step.f, completion.kind) {
            (F::Time, Kind::Ok) => {
                let shown = completion.value["timestamp_ms"].as_i64();
                let now_ms = i64::try_from(now_ns / 1_000_000).ok();
                inner.offset_ms = shown.zip(now_ms).map(|(shown, now)| shown - now);
            }
            (F::Delete, Kind::Ok) => {
                if let Some(known) = step.key.as_ref().and_then(|key| inner.sessions.get_mut(key)) {
                    known.left = true;
                }
            }
            (F::Batch, Kind::Ok) => {
                for result in completion.value.as_array().into_iter().flatten() {
                    inner.see(result);
                }
            }
            (F::List, Kind::Ok) => {
                for session in completion.value["data"].as_array().into_iter().flatten() {
                    inner.see(session);
                }
            }
            (F::StaleRead, Kind::Ok) => inner.see(&completion.value["data"]),
            (_, Kind::Ok) => inner.see(&completion.value),
            (F::Create, Kind::Fail) => {
                if let Some(known) = step.key.as_ref().and_then(|key| inner.sessions.get_mut(key)) {
                    known.left |= known.version == 0;
                }
            }
            (_, _) => {
                if completion.status == Some(404)
                    && let Some(known) =
                        step.key.as_ref().and_then(|key| inner.sessions.get_mut(key))
                {
                    known.missed += 1;
                    known.left |= known.version != 0 || MISSED_MAX < known.missed;
                }
                let details = completion.error.as_ref().map(|error| &error.details);
                let actual = details.and_then(|details| details["actual_version"].as_u64());
                let known = step.key.as_ref().and_then(|key| inner.sessions.get_mut(key));
                if let (Some(known), Some(actual)) = (known, actual) {
                    known.version = known.version.max(actual);
                }
            }
        }
    }

    /// Nobody begins anything on it any more.
    pub fn leave(&self, session: &str) {
        if let Some(known) = self.lock().sessions.get_mut(session) {
            known.left = true;
        }
    }

    pub fn get(&self, session: &str) -> Option<Known> {
        self.lock().sessions.get(session).cloned()
    }

    /// Those that are not left, by id.
    pub fn playing(&self) -> Vec<Known> {
        self.lock().sessions.values().filter(|known| !known.left).cloned().collect()
    }

    /// Every session that a request was ever about.
    pub fn all(&self) -> Vec<String> {
        self.lock().named.iter().cloned().collect()
    }

    /// When cluster time will be `stamp_ms`, on the runner's clock.
    pub fn when_ns(&self, stamp_ms: i64) -> Option<u64> {
        let at_ms = stamp_ms - self.lock().offset_ms?;
        u64::try_from(at_ms).ok().map(|at_ms| at_ms * 1_000_000)
    }

    /// A request under a key that others may send again.
    pub fn offer(&self, step: Step) {
        let keyed = &mut self.lock().keyed;
        keyed.push(step);
        if KEYED_MAX < keyed.len() {
            keyed.remove(0);
        }
    }

    pub fn offered(&self) -> Vec<Step> {
        self.lock().keyed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn see(&mut self, state: &Value) {
        let known = state["session_id"].as_str().and_then(|session| self.sessions.get_mut(session));
        let (Some(known), Some(version)) = (known, state["version"].as_u64()) else { return };
        if version < known.version {
            return;
        }
        known.version = version;
        if let Some(status) = state["status"].as_str() {
            status.clone_into(&mut known.status);
        }
        known.active = state["active_participant_id"].as_str().map(str::to_owned);
        // A switch's answer has no deadline.
        if let Some(deadline) = state.get("deadline_ms") {
            known.deadline_ms = deadline.as_u64();
        }
    }
}
