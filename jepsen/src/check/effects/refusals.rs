//! Whether refusals are true: what they say of the session was so at some moment between request
//! and answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    explain::is_kept,
    timeline::{Content, Timeline},
};
use crate::{
    check::{
        act::{Acts, first_sent},
        state::{version, word},
        verdict::Anomaly,
    },
    history::{
        op::{F, Failure},
        pair::{Op, Outcome},
    },
    test::run::Run,
};

/// A command that was refused.
struct Refused<'a> {
    f: F,
    session: &'a str,
    request: &'a Value,
    error: &'a Failure,
    /// Between which moments it was refused.
    window: (u64, u64),
}

pub(super) struct Judged {
    pub(super) anomalies: Vec<Anomaly>,
    /// Answers of the state machine itself.
    pub(super) count: u64,
}

pub(super) fn judge<'a>(run: &'a Run, acts: &Acts<'a>) -> Judged {
    let first_sent = first_sent(run);
    let mut timelines: BTreeMap<&str, Timeline<'_>> = BTreeMap::new();
    let mut judged = Judged { anomalies: Vec::new(), count: 0 };
    for op in run.ops.iter().filter(|op| op.f.writes()) {
        let Some(refused) = refused(op, &first_sent) else { continue };
        let session = refused.session;
        let timeline = timelines.entry(session).or_insert_with(|| Timeline::of(run, acts, session));
        judged.count += u64::from(is_kept(op));
        if let Some(what) = untrue(&refused, timeline) {
            let mut anomaly = Anomaly::new(what).session(session).node(&op.node).ops([op.index]);
            anomaly.time_ns = op.returned_ns;
            judged.anomalies.push(anomaly);
        }
    }
    judged
}

/// The command that a node refused, where it is clear on which state of the session.
fn refused<'a>(op: &'a Op, first_sent: &BTreeMap<&str, u64>) -> Option<Refused<'a>> {
    let Outcome::Fail { status: Some(_), error } = &op.outcome else { return None };
    let repeated = op.idem.as_deref().and_then(|key| first_sent.get(key).copied());
    let window = (repeated.unwrap_or(op.invoked_ns), op.returned_ns?);
    if op.f != F::Batch {
        let session = op.key.as_deref()?;
        return Some(Refused { f: op.f, session, request: &op.request, error, window });
    }
    let position = usize::try_from(error.context.get("index")?.as_u64()?).ok()?;
    let commands = op.request.get("commands")?.as_array()?;
    let request = commands.get(position)?;
    let session = request.get("session_id")?.as_str()?;
    let f = F::parse(request.get("action")?.as_str()?)?;
    // What an earlier command of the batch made of the session nobody else ever saw.
    let changed = commands[..position].iter().any(|earlier| earlier["session_id"] == session);
    (!changed).then_some(Refused { f, session, request, error, window })
}

fn untrue(refused: &Refused<'_>, timeline: &Timeline<'_>) -> Option<String> {
    let Refused { f, session, error, window, .. } = refused;
    let word_of_f = f.as_str();
    if let Some(named) = error.context.get("session_id").filter(|named| *named != session) {
        return Some(format!("a {word_of_f} was refused for another session, {named}"));
    }
    let is = |like_that: &dyn Fn(&Value) -> bool| {
        timeline.may_be(*window, |content| match content {
            Content::Absent => false,
            Content::Is(state) => like_that(state),
            Content::Present | Content::Unknown => true,
        })
    };
    match error.kind.as_str() {
        "SESSION_NOT_FOUND" => {
            let may = timeline.may_be(*window, |content| content == Content::Absent);
            (!may).then(|| format!("a {word_of_f} got a 404, and the session was there all along"))
        }
        "SESSION_EXISTS" => (!is(&|_| true))
            .then(|| format!("a {word_of_f} was told that the session exists, and it did not")),
        "PARTICIPANT_EXPIRED" => (!is(&|state| word(state, "status") == "expired"))
            .then(|| format!("a {word_of_f} was told that the session is expired, and it was not")),
        "INVALID_SESSION_STATE" => wrong_state(*f, error, &is),
        "PARTICIPANT_NOT_FOUND" => {
            let named = word(refused.request, "next_participant_id");
            let lacks = |state: &Value| {
                let mut seats = state["participants"].as_array().into_iter().flatten();
                seats.all(|seat| seat["participant_id"] != named)
            };
            (!is(&lacks)).then(|| {
                format!("a {word_of_f} to {named:?} was told that it is nobody there, and it was")
            })
        }
        "CONCURRENT_MODIFICATION" => no_conflict(refused, &is),
        _ => None,
    }
}

type Was<'w> = &'w dyn Fn(&dyn Fn(&Value) -> bool) -> bool;

fn wrong_state(f: F, error: &Failure, is: Was<'_>) -> Option<String> {
    let (told, word_of_f) = (word(&error.context, "status"), f.as_str());
    let allowed: &[&str] = match f {
        F::Start => &["pending"],
        F::Switch | F::Pause => &["running"],
        F::Resume => &["paused"],
        F::Complete => &["pending", "running", "paused", "completed", "expired"],
        F::Create | F::Delete | F::Batch | F::Read | F::StaleRead | F::List | F::Time => {
            return Some(format!("a {word_of_f} was refused for the session's state"));
        }
    };
    if allowed.contains(&told) {
        return Some(format!("a {word_of_f} was refused because the session is {told}"));
    }
    (!is(&|state| word(state, "status") == told))
        .then(|| format!("a {word_of_f} was told that the session is {told:?}, and it was not"))
}

fn no_conflict(refused: &Refused<'_>, is: Was<'_>) -> Option<String> {
    let Refused { f, request, error, .. } = refused;
    let word_of_f = f.as_str();
    let number = |value: &Value, field: &str| value.get(field).and_then(Value::as_u64);
    let told =
        (number(&error.details, "expected_version"), number(&error.details, "actual_version"));
    let (Some(expected), Some(actual)) = told else {
        let named = word(&error.context, "actual_participant_id");
        if word(request, "current_participant_id") == named {
            return Some(format!("a {word_of_f} named {named:?}, who was active, and was refused"));
        }
        let active = |state: &Value| word(state, "active_participant_id") == named;
        return (!is(&active))
            .then(|| format!("a {word_of_f} was told that {named:?} is active, which was not so"));
    };
    if number(request, "expected_version").is_some_and(|asked| asked != expected) {
        return Some(format!(
            "a {word_of_f} was refused for version {expected}, which it did not name"
        ));
    }
    if expected == actual {
        return Some(format!("a {word_of_f} was refused for version {actual}, which it expected"));
    }
    (!is(&|state| version(state) == Some(actual))).then(|| {
        format!("a {word_of_f} was told of version {actual}, which the session did not have then")
    })
}
