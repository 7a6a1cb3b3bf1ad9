//! `POST /v1/batch`: several commands that take effect together or not at all.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    create::{expected_version, new_session, switch_body},
    fields::{Fields, Issues},
    problem::{FieldIssue, IssueCode},
    rest::{SessionState, SwitchResult},
};
use crate::{command::Intent, event::Answer, ids::SessionId, limits};

const UNKNOWN_ACTION: &str = "unknown action; known are create, start, switch, pause, resume, \
                              complete, delete";

/// Complaints after which the rest of the commands is not looked at: the answer to a body of junk
/// must not outgrow the body.
const ISSUES_ENOUGH: usize = 100;

/// What came of the commands of a batch, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchResults {
    pub results: Vec<BatchResult>,
}

/// What the command's own route has as `data`; null for a delete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BatchResult {
    Session(Box<SessionState>),
    Switched(SwitchResult),
    Nothing,
}

impl BatchResult {
    /// `None` for answers that no command of a client has.
    pub fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Session(session) => {
                Some(Self::Session(Box::new(SessionState::from(&**session))))
            }
            Answer::Switched { session, expired } => {
                Some(Self::Switched(SwitchResult::new(session, *expired)))
            }
            Answer::Deleted => Some(Self::Nothing),
            Answer::Swept { .. } | Answer::Batch(_) | Answer::Done | Answer::Admitted { .. } => {
                None
            }
        }
    }
}

/// Reads the body of `POST /v1/batch`: its commands in order. Unknown keys are ignored.
///
/// # Errors
/// The rules that the body breaks; not all of them where they are very many.
pub fn parse_batch(body: &Value) -> Result<Vec<Intent>, Vec<FieldIssue>> {
    let mut issues = Issues::default();
    let commands =
        Fields::open(body, "", &mut issues).and_then(|fields| commands(&fields, &mut issues));
    issues.finish(commands)
}

fn commands(fields: &Fields<'_>, issues: &mut Issues) -> Option<Vec<Intent>> {
    let given = match fields.get("commands") {
        Some(Value::Array(given)) => given,
        other => {
            fields.wrong_type("commands", "array", other, issues);
            return None;
        }
    };
    if given.is_empty() {
        let message = "At least one command is required";
        issues.add(fields.path("commands"), IssueCode::TooSmall, message);
        return None;
    }
    if limits::ATOMIC_COMMANDS_MAX < given.len() {
        let message = format!("Cannot exceed {} commands", limits::ATOMIC_COMMANDS_MAX);
        issues.add(fields.path("commands"), IssueCode::TooBig, message);
        return None;
    }
    let mut commands = Vec::with_capacity(given.len());
    for (position, value) in given.iter().enumerate() {
        if ISSUES_ENOUGH <= issues.count() {
            break;
        }
        let path = fields.path(&format!("commands.{position}"));
        let fields = Fields::open(value, &path, issues);
        commands.extend(fields.and_then(|fields| command(&fields, issues)));
    }
    (commands.len() == given.len()).then_some(commands)
}

fn command(fields: &Fields<'_>, issues: &mut Issues) -> Option<Intent> {
    let action = match fields.get("action") {
        Some(Value::String(action)) => action.as_str(),
        other => {
            fields.wrong_type("action", "string", other, issues);
            return None;
        }
    };
    if action == "create" {
        return new_session(fields, issues).map(|(new, on_outage)| Intent::create(new, on_outage));
    }
    let session: Option<SessionId> = fields.id("session_id", "Session ID", issues);
    match action {
        "switch" => {
            let body = switch_body(fields, issues);
            let expected_version = body.expected_version;
            Some(Intent::Switch {
                session: session?,
                expected_version,
                current: body.current,
                next: body.next,
            })
        }
        "delete" => Some(Intent::Delete { session: session? }),
        _ => {
            let expected_version = expected_version(fields, issues);
            let of: fn(SessionId, Option<u64>) -> Intent = match action {
                "start" => |session, expected_version| Intent::Start { session, expected_version },
                "pause" => |session, expected_version| Intent::Pause { session, expected_version },
                "resume" => {
                    |session, expected_version| Intent::Resume { session, expected_version }
                }
                "complete" => {
                    |session, expected_version| Intent::Complete { session, expected_version }
                }
                _ => {
                    let path = fields.path("action");
                    issues.add(path, IssueCode::InvalidValue, UNKNOWN_ACTION);
                    return None;
                }
            };
            Some(of(session?, expected_version))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SESSION: &str = "123e4567-e89b-12d3-a456-426614174000";
    const ALICE: &str = "223e4567-e89b-12d3-a456-426614174001";

    fn complaints(body: &Value) -> String {
        let word = |issue: FieldIssue| {
            let code = serde_json::to_value(issue.code).unwrap();
            format!("{} {}", issue.field, code.as_str().unwrap())
        };
        let issues = parse_batch(body).err().unwrap_or_default();
        issues.into_iter().map(word).collect::<Vec<_>>().join("; ")
    }

    fn create() -> Value {
        json!({
            "action": "create",
            "session_id": SESSION,
            "sync_mode": "per_participant",
            "participants":
                [{"participant_id": ALICE, "participant_index": 0, "total_time_ms": 60_000}],
            "total_time_ms": 120_000,
        })
    }

    #[test]
    fn every_action_is_read() {
        let body = json!({"commands": [
            create(),
            {"action": "start", "session_id": SESSION, "expected_version": 1},
            {"action": "switch", "session_id": SESSION, "next_participant_id": ALICE},
            {"action": "pause", "session_id": SESSION},
            {"action": "resume", "session_id": SESSION},
            {"action": "complete", "session_id": SESSION, "else": 7},
            {"action": "delete", "session_id": SESSION},
        ]});
        let commands = parse_batch(&body).unwrap();
        let session = SESSION.parse().unwrap();
        assert!(matches!(&commands[0], Intent::Create(new) if new.id == session));
        let expected_version = None;
        let rest = [
            Intent::Start { session, expected_version: Some(1) },
            Intent::Switch {
                session,
                expected_version,
                current: None,
                next: Some(ALICE.parse().unwrap()),
            },
            Intent::Pause { session, expected_version },
            Intent::Resume { session, expected_version },
            Intent::Complete { session, expected_version },
            Intent::Delete { session },
        ];
        assert_eq!(commands[1..], rest);
    }

    #[test]
    fn complaints_name_the_command() {
        let mut no_bank = create();
        no_bank["participants"][0].as_object_mut().unwrap().remove("total_time_ms");
        let table = [
            (json!({}), "commands invalid_type"),
            (json!({"commands": []}), "commands too_small"),
            (json!({"commands": vec![json!({}); 101]}), "commands too_big"),
            (json!({"commands": [7]}), "commands.0 invalid_type"),
            (json!({"commands": [{"session_id": SESSION}]}), "commands.0.action invalid_type"),
            (
                json!({"commands": [{"action": "cancel", "session_id": SESSION}]}),
                "commands.0.action invalid_value",
            ),
            (
                json!({"commands": [
                    {"action": "start", "session_id": "x", "expected_version": 0},
                    {"action": "delete"},
                    no_bank,
                    {"action": "switch", "session_id": SESSION, "next_participant_id": null},
                ]}),
                "commands.0.session_id invalid_format; commands.0.expected_version too_small; \
                 commands.1.session_id invalid_type; \
                 commands.2.participants.0.total_time_ms invalid_type; \
                 commands.3.next_participant_id invalid_type",
            ),
        ];
        for (body, expected) in table {
            assert_eq!(complaints(&body), expected, "{body}");
        }
    }

    #[test]
    fn junk_is_not_answered_at_length() {
        let mut junk = create();
        junk["participants"] = json!(vec![json!({}); 300]);
        let issues = parse_batch(&json!({"commands": vec![junk; 100]})).unwrap_err();
        assert!(issues.len() < 1_000, "{}", issues.len());
    }
}
