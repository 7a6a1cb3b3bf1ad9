//! The bodies of requests, checked: every broken rule is reported at once, with its path.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    fields::{Bounds, Fields, Issues, Unit, wrong_type},
    problem::{FieldIssue, IssueCode},
    words::mode_from_word,
};
use crate::{
    ids::{GroupId, ParticipantId},
    limits,
    session::{Group, NewParticipant, NewSession, OnOutage, OnTimeout, SyncMode},
    time::Millis,
};

const INVALID_MODE: &str = "unknown sync mode; known are per_participant, per_cycle, \
                            per_group, global, count_up";
const INVALID_RULE: &str =
    "unknown time-out rule; known are notify, skip_cycle, end_session, auto_action";
const INVALID_OUTAGE: &str = "unknown outage rule; known are charge, freeze";

/// The body of a switch. v2 knows `next_participant_id` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchBody {
    pub next: Option<ParticipantId>,
    /// Refused with 409 where somebody else is active.
    pub current: Option<ParticipantId>,
    /// Refused with 409 where the session is at another version.
    pub expected_version: Option<u64>,
}

/// Reads the body of `POST /v1/sessions`: the session, and what an outage does to it. Unknown keys
/// are ignored.
///
/// # Errors
/// Every rule that the body breaks.
pub fn parse_create(body: &Value) -> Result<(NewSession, OnOutage), Vec<FieldIssue>> {
    let mut issues = Issues::default();
    let session =
        Fields::open(body, "", &mut issues).and_then(|fields| new_session(&fields, &mut issues));
    issues.finish(session)
}

/// Reads the body of `POST /v1/sessions/:id/switch`. Unknown keys are ignored.
///
/// # Errors
/// Every rule that the body breaks.
pub fn parse_switch(body: &Value) -> Result<SwitchBody, Vec<FieldIssue>> {
    let mut issues = Issues::default();
    let read = Fields::open(body, "", &mut issues).map(|fields| switch_body(&fields, &mut issues));
    issues.finish(read)
}

pub(super) fn switch_body(fields: &Fields<'_>, issues: &mut Issues) -> SwitchBody {
    SwitchBody {
        next: fields.optional_id("next_participant_id", "Next participant ID", issues),
        current: fields.optional_id("current_participant_id", "Current participant ID", issues),
        expected_version: expected_version(fields, issues),
    }
}

/// Reads `expected_version` from the body of start, pause, resume or complete, all of which
/// ignore everything else: an array is as good as nothing.
///
/// # Errors
/// `expected_version` is there and is no version.
pub fn parse_expected_version(body: &Value) -> Result<Option<u64>, Vec<FieldIssue>> {
    if !body.is_object() {
        return Ok(None);
    }
    let mut issues = Issues::default();
    let version =
        Fields::open(body, "", &mut issues).map(|fields| expected_version(&fields, &mut issues));
    issues.finish(version)
}

pub(super) fn expected_version(fields: &Fields<'_>, issues: &mut Issues) -> Option<u64> {
    let bounds = Bounds { label: "Expected version", min: 1, max: None, unit: Unit::Count };
    fields.optional_integer("expected_version", bounds, issues)
}

/// In the order of v2's schema, so that v2's details come in v2's order.
pub(super) fn new_session(
    fields: &Fields<'_>,
    issues: &mut Issues,
) -> Option<(NewSession, OnOutage)> {
    let optional_clock = |key, label, issues: &mut Issues| {
        fields.optional_integer(key, clock(label), issues).map(Millis::new)
    };
    let id = fields.id("session_id", "Session ID", issues);
    let mode = mode(fields, issues);
    let participants = participants(fields, issues);
    let total_time = fields.integer("total_time_ms", clock("Total time"), issues);
    let time_per_cycle = optional_clock("time_per_cycle_ms", "Time per cycle", issues);
    let increment = fields.optional_integer("increment_ms", INCREMENT, issues);
    let max_time = optional_clock("max_time_ms", "Max time", issues);
    let metadata = metadata(fields, issues);

    let groups = groups(fields, issues);
    let on_timeout = on_timeout(fields, issues);
    let auto_advance = fields.optional_bool("auto_advance", issues);
    let warnings = warnings(fields, issues);
    let first = first(fields, participants.as_deref(), issues);
    let on_outage = on_outage(fields, issues);
    let new = NewSession {
        id: id?,
        mode: mode?,
        participants: participants?,
        groups,
        total_time: Millis::new(total_time?),
        time_per_cycle,
        increment: Millis::new(increment.unwrap_or(0)),
        max_time,
        on_timeout,
        auto_advance,
        warnings,
        metadata,
        first,
    };
    Some((new, on_outage))
}

const INCREMENT: Bounds<'static> = Bounds {
    label: "Increment",
    min: 0,
    max: Some(limits::INCREMENT_MAX.get()),
    unit: Unit::Milliseconds,
};

fn clock(label: &str) -> Bounds<'_> {
    Bounds {
        label,
        min: limits::CLOCK_MIN.get(),
        max: Some(limits::CLOCK_MAX.get()),
        unit: Unit::Milliseconds,
    }
}

fn mode(fields: &Fields<'_>, issues: &mut Issues) -> Option<SyncMode> {
    let mode = fields.get("sync_mode").and_then(Value::as_str).and_then(mode_from_word);
    if mode.is_none() {
        issues.add(fields.path("sync_mode"), IssueCode::InvalidValue, INVALID_MODE);
    }
    mode
}

fn participants(fields: &Fields<'_>, issues: &mut Issues) -> Option<Vec<NewParticipant>> {
    let given = match fields.get("participants") {
        Some(Value::Array(given)) => given,
        other => {
            fields.wrong_type("participants", "array", other, issues);
            return None;
        }
    };
    if given.is_empty() {
        let message = "At least one participant is required";
        issues.add(fields.path("participants"), IssueCode::TooSmall, message);
        return None;
    }
    // Not looked at one by one: the answer to a body of junk must not outgrow the body.
    if limits::PARTICIPANTS_MAX < given.len() {
        let message = format!("Cannot exceed {} participants", limits::PARTICIPANTS_MAX);
        issues.add(fields.path("participants"), IssueCode::TooBig, message);
        return None;
    }
    let read: Vec<Option<NewParticipant>> = given
        .iter()
        .enumerate()
        .map(|(position, value)| {
            let path = fields.path(&format!("participants.{position}"));
            Fields::open(value, &path, issues).and_then(|fields| participant(&fields, issues))
        })
        .collect();

    let mut seen = BTreeSet::new();
    for (position, new) in read.iter().enumerate() {
        let id = new.as_ref().map(|new| new.id);
        if id.is_some_and(|id| !seen.insert(id)) {
            let path = fields.path(&format!("participants.{position}.participant_id"));
            issues.add(path, IssueCode::InvalidValue, "Participant ID must be unique");
        }
    }
    read.into_iter().collect()
}

fn participant(fields: &Fields<'_>, issues: &mut Issues) -> Option<NewParticipant> {
    let index = Bounds { label: "Participant index", min: 0, max: None, unit: Unit::Count };
    let id = fields.id("participant_id", "Participant ID", issues);
    let index = fields.integer("participant_index", index, issues);
    let bank = fields.integer("total_time_ms", clock("Total time"), issues);
    let group = fields.optional_id("group_id", "Group ID", issues);
    Some(NewParticipant { id: id?, index: index?, bank: Millis::new(bank?), group })
}

/// The object as compact text with sorted keys, so that equal metadata is equal text.
fn metadata(fields: &Fields<'_>, issues: &mut Issues) -> Option<String> {
    let object: &Map<String, Value> = match fields.get("metadata") {
        None => return None,
        Some(Value::Object(object)) => object,
        other => {
            fields.wrong_type("metadata", "record", other, issues);
            return None;
        }
    };
    let mut sorted = Value::Object(object.clone());
    sorted.sort_all_objects();
    let text = sorted.to_string();
    if limits::METADATA_BYTES_MAX < text.len() {
        let message = format!(
            "Metadata is {} bytes of compact JSON, at most {}",
            text.len(),
            limits::METADATA_BYTES_MAX
        );
        issues.add(fields.path("metadata"), IssueCode::TooBig, message);
        return None;
    }
    Some(text)
}

fn groups(fields: &Fields<'_>, issues: &mut Issues) -> Vec<Group> {
    let given = match fields.get("groups") {
        None => return Vec::new(),
        Some(Value::Array(given)) => given,
        other => {
            fields.wrong_type("groups", "array", other, issues);
            return Vec::new();
        }
    };
    if limits::PARTICIPANTS_MAX < given.len() {
        let message = format!("Cannot exceed {} groups", limits::PARTICIPANTS_MAX);
        issues.add(fields.path("groups"), IssueCode::TooBig, message);
        return Vec::new();
    }
    let mut seen: BTreeSet<GroupId> = BTreeSet::new();
    let mut groups = Vec::with_capacity(given.len());
    for (position, value) in given.iter().enumerate() {
        let path = fields.path(&format!("groups.{position}"));
        let Some(fields) = Fields::open(value, &path, issues) else { continue };
        let id = fields.id("group_id", "Group ID", issues);
        let bank = fields.integer("total_time_ms", clock("Total time"), issues);
        let (Some(id), Some(bank)) = (id, bank) else { continue };
        if !seen.insert(id) {
            let message = "Group ID must be unique";
            issues.add(fields.path("group_id"), IssueCode::InvalidValue, message);
        }
        groups.push(Group { id, bank: Millis::new(bank) });
    }
    groups
}

/// `on_timeout`, which v2's guides call `action_on_timeout`.
fn on_timeout(fields: &Fields<'_>, issues: &mut Issues) -> Option<OnTimeout> {
    let key =
        ["on_timeout", "action_on_timeout"].into_iter().find(|key| fields.get(key).is_some())?;
    let rule = Fields::open(fields.get(key)?, &fields.path(key), issues)?;
    match rule.get("type").and_then(Value::as_str) {
        Some("notify") => Some(OnTimeout::Notify),
        Some("skip_cycle") => Some(OnTimeout::SkipCycle),
        Some("end_session") => Some(OnTimeout::EndSession),
        Some("auto_action") => action(&rule, issues).map(|action| OnTimeout::AutoAction { action }),
        Some(_) | None => {
            issues.add(rule.path("type"), IssueCode::InvalidValue, INVALID_RULE);
            None
        }
    }
}

fn on_outage(fields: &Fields<'_>, issues: &mut Issues) -> OnOutage {
    match fields.get("on_outage").map(Value::as_str) {
        None | Some(Some("charge")) => return OnOutage::Charge,
        Some(Some("freeze")) => return OnOutage::Freeze,
        Some(_) => {}
    }
    issues.add(fields.path("on_outage"), IssueCode::InvalidValue, INVALID_OUTAGE);
    OnOutage::Charge
}

fn action(rule: &Fields<'_>, issues: &mut Issues) -> Option<String> {
    let action = match rule.get("action") {
        Some(Value::String(action)) => action,
        other => {
            rule.wrong_type("action", "string", other, issues);
            return None;
        }
    };
    if limits::ACTION_BYTES_MAX < action.len() {
        let message =
            format!("Action is {} bytes, at most {}", action.len(), limits::ACTION_BYTES_MAX);
        issues.add(rule.path("action"), IssueCode::TooBig, message);
        return None;
    }
    Some(action.clone())
}

/// Distinct thresholds in the order given.
fn warnings(fields: &Fields<'_>, issues: &mut Issues) -> Vec<Millis> {
    let given = match fields.get("warnings_ms") {
        None => return Vec::new(),
        Some(Value::Array(given)) => given,
        other => {
            fields.wrong_type("warnings_ms", "array", other, issues);
            return Vec::new();
        }
    };
    if limits::WARNINGS_MAX < given.len() {
        let message = format!("Cannot exceed {} warnings", limits::WARNINGS_MAX);
        issues.add(fields.path("warnings_ms"), IssueCode::TooBig, message);
        return Vec::new();
    }
    let bounds = Bounds {
        label: "Warning",
        min: 1,
        max: Some(limits::CLOCK_MAX.get()),
        unit: Unit::Milliseconds,
    };
    let mut warnings = Vec::with_capacity(given.len());
    for (position, value) in given.iter().enumerate() {
        let path = fields.path(&format!("warnings_ms.{position}"));
        let Value::Number(number) = value else {
            issues.add(path, IssueCode::InvalidType, wrong_type("number", Some(value)));
            continue;
        };
        if let Some(threshold) = bounds.check(number, &path, issues).map(Millis::new)
            && !warnings.contains(&threshold)
        {
            warnings.push(threshold);
        }
    }
    warnings
}

/// Who starts. Not compared with participants that are themselves wrong.
fn first(
    fields: &Fields<'_>,
    participants: Option<&[NewParticipant]>,
    issues: &mut Issues,
) -> Option<ParticipantId> {
    let first = fields.optional_id("active_participant_id", "Active participant ID", issues)?;
    let takes_part = participants.is_none_or(|all| all.iter().any(|new| new.id == first));
    if !takes_part {
        let message = "Active participant ID must be one of the participants";
        issues.add(fields.path("active_participant_id"), IssueCode::InvalidValue, message);
    }
    Some(first)
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
