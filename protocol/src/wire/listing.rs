//! Reads beyond one session as of now: how fresh an answer must be or is, and pages of sessions.

use serde::{Deserialize, Serialize};

use super::{
    fields::{Bounds, Issues, Unit},
    problem::{FieldIssue, IssueCode},
    rest::SessionState,
};
use crate::{
    ids::SessionId,
    limits,
    session::Status,
    time::{Millis, Stamp},
};

/// What a read may answer with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// The latest state: a majority confirms it after the read began.
    #[default]
    Linearizable,
    /// What the node that was asked has, at once, and how old that may be.
    Stale,
}

/// How fresh the state is from which a stale read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Position in the log up to which the node had applied it, at least.
    pub revision: u64,
    /// Cluster time of the last entry applied: everything that was stamped before is in the answer.
    pub as_of_ms: Stamp,
    /// How long ago the node heard its leader, or as the leader a majority; since its start where
    /// it never did.
    pub leader_heard_ms: Millis,
}

/// The answer to a stale read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleAnswer<T> {
    pub data: T,
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// Which sessions `GET /v1/sessions` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// All of them where absent.
    pub status: Option<Status>,
    /// Sessions on the page, 1 to [`limits::LIST_MAX`].
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<SessionId>,
    pub consistency: Consistency,
}

impl Default for ListQuery {
    fn default() -> Self {
        let (status, cursor, limit) = (None, None, limits::LIST_DEFAULT);
        Self { status, limit, cursor, consistency: Consistency::Linearizable }
    }
}

/// One page of `GET /v1/sessions`, ordered by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListAnswer {
    pub data: Vec<SessionState>,
    /// Where the next page begins; null on the last one. A page can be short, or empty, and have
    /// one after it all the same.
    pub next_cursor: Option<SessionId>,
    /// On stale answers only.
    #[serde(flatten)]
    pub freshness: Option<Freshness>,
}

const STATUSES: [Status; 5] =
    [Status::Pending, Status::Running, Status::Paused, Status::Expired, Status::Completed];

const LIMIT: Bounds<'static> =
    Bounds { label: "Limit", min: 1, max: Some(limits::LIST_MAX as u64), unit: Unit::Count };

/// Reads `consistency`, where the query has it.
///
/// # Errors
/// It is a word that is not known, or one that is not offered.
pub fn parse_consistency(given: Option<&str>) -> Result<Consistency, Vec<FieldIssue>> {
    let mut issues = Issues::default();
    let consistency = consistency(given, &mut issues);
    issues.finish(consistency)
}

/// Reads the query of `GET /v1/sessions`; `value` tells what the query has under a key. Unknown
/// keys are ignored.
///
/// # Errors
/// Every rule that the query breaks.
pub fn parse_list(value: impl Fn(&str) -> Option<String>) -> Result<ListQuery, Vec<FieldIssue>> {
    let mut issues = Issues::default();
    let status = value("status").map(|word| {
        let known = STATUSES.into_iter().find(|status| status.as_str() == word);
        if known.is_none() {
            let message = "unknown status; known are pending, running, paused, expired, completed";
            issues.add(String::from("status"), IssueCode::InvalidValue, message);
        }
        known
    });
    let limit = value("limit").map(|text| {
        let Ok(number) = text.parse() else {
            let message = "Limit is not a whole number";
            issues.add(String::from("limit"), IssueCode::InvalidType, message);
            return None;
        };
        LIMIT.check(&number, "limit", &mut issues)
    });
    let limit = limit.map_or(Some(limits::LIST_DEFAULT), |given| usize::try_from(given?).ok());
    let cursor = value("cursor").map(|text| {
        let id = SessionId::parse_loose(&text).ok();
        if id.is_none() {
            let message = "Cursor is not the next_cursor of another page";
            issues.add(String::from("cursor"), IssueCode::InvalidFormat, message);
        }
        id
    });
    let consistency = consistency(value("consistency").as_deref(), &mut issues);
    let query = limit.zip(consistency).map(|(limit, consistency)| ListQuery {
        status: status.flatten(),
        limit,
        cursor: cursor.flatten(),
        consistency,
    });
    issues.finish(query)
}

/// The query of a list as text, `?` and all; empty where nothing differs from the default.
pub fn list_query(query: &ListQuery) -> String {
    let mut text = String::new();
    let mut add = |key: &str, value: &str| {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    };
    if let Some(status) = query.status {
        add("status", status.as_str());
    }
    if query.limit != limits::LIST_DEFAULT {
        add("limit", &query.limit.to_string());
    }
    if let Some(cursor) = query.cursor {
        add("cursor", &cursor.to_string());
    }
    if query.consistency == Consistency::Stale {
        add("consistency", "stale");
    }
    text
}

fn consistency(given: Option<&str>, issues: &mut Issues) -> Option<Consistency> {
    let message = match given {
        None | Some("linearizable") => return Some(Consistency::Linearizable),
        Some("stale") => return Some(Consistency::Stale),
        Some("lease") => {
            "lease is not offered, since it trusts that no clock and no process stands still; \
             known are linearizable, stale"
        }
        Some(_) => "unknown consistency; known are linearizable, stale",
    };
    issues.add(String::from("consistency"), IssueCode::InvalidValue, message);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "123e4567-e89b-12d3-A456-426614174000";

    fn parse(pairs: &[(&str, &str)]) -> Result<ListQuery, String> {
        let value = |key: &str| {
            pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        };
        parse_list(value).map_err(|issues| {
            let fields: Vec<String> = issues.into_iter().map(|issue| issue.field).collect();
            fields.join(" ")
        })
    }

    #[test]
    fn queries_are_read_or_refused_field_by_field() {
        let default = ListQuery::default();
        let cursor = SessionId::parse_loose(ID).ok();
        let table = [
            (vec![], Ok(default)),
            (vec![("else", "x"), ("consistency", "linearizable")], Ok(default)),
            (vec![("status", "paused")], Ok(ListQuery { status: Some(Status::Paused), ..default })),
            (vec![("limit", "200")], Ok(ListQuery { limit: 200, ..default })),
            (vec![("cursor", ID)], Ok(ListQuery { cursor, ..default })),
            (
                vec![("consistency", "stale")],
                Ok(ListQuery { consistency: Consistency::Stale, ..default }),
            ),
            (vec![("limit", "0")], Err("limit")),
            (vec![("limit", "201")], Err("limit")),
            (vec![("limit", "many")], Err("limit")),
            (vec![("limit", "")], Err("limit")),
            (vec![("status", "Running"), ("cursor", "7")], Err("status cursor")),
            (vec![("consistency", "lease"), ("limit", "-1")], Err("limit consistency")),
        ];
        for (pairs, expected) in table {
            assert_eq!(parse(&pairs), expected.map_err(str::to_owned), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let full = ListQuery {
            status: Some(Status::Running),
            limit: 7,
            cursor: SessionId::parse_loose(ID).ok(),
            consistency: Consistency::Stale,
        };
        for query in [full, ListQuery::default()] {
            let text = list_query(&query);
            let pairs: Vec<(&str, &str)> = text
                .trim_start_matches('?')
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .collect();
            assert_eq!(parse(&pairs), Ok(query), "{text}");
        }
        assert_eq!(list_query(&ListQuery::default()), "");
    }

    #[test]
    fn stale_is_said_on_stale_pages_only() {
        let page = ListAnswer { data: Vec::new(), next_cursor: None, freshness: None };
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(text, r#"{"data":[],"next_cursor":null}"#);
        assert_eq!(serde_json::from_str::<ListAnswer>(&text).unwrap(), page);
        let freshness = Freshness {
            revision: 3,
            as_of_ms: Stamp::from_unix_millis(5),
            leader_heard_ms: Millis::new(7),
        };
        let page = ListAnswer { freshness: Some(freshness), ..page };
        let text = serde_json::to_string(&page).unwrap();
        assert!(text.ends_with(r#""revision":3,"as_of_ms":5,"leader_heard_ms":7}"#), "{text}");
        assert_eq!(serde_json::from_str::<ListAnswer>(&text).unwrap(), page);
    }
}
