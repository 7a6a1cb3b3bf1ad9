//! What a checker says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// As in Jepsen, `unknown` is no praise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validity {
    Valid,
    /// The checker could not tell: time ran out, or what it needs is missing.
    Unknown,
    Invalid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub checker: String,
    #[serde(rename = "valid?")]
    pub valid: Validity,
    /// Why it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
    /// Figures: what was looked at, and how much of it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
}

/// One thing that must not be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// A sentence, with what was expected and what was seen.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<u64>,
    /// Indices of the operations' invocations in the history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<u64>,
}

impl Verdict {
    /// Invalid where there are anomalies, else valid.
    pub fn of(checker: &str, anomalies: Vec<Anomaly>) -> Self {
        let valid = if anomalies.is_empty() { Validity::Valid } else { Validity::Invalid };
        Self { checker: checker.to_owned(), valid, why: None, anomalies, facts: Map::new() }
    }

    /// Unknown, unless there are anomalies.
    #[must_use]
    pub fn unknown(mut self, why: impl Into<String>) -> Self {
        if self.valid == Validity::Valid {
            self.valid = Validity::Unknown;
            self.why = Some(why.into());
        }
        self
    }

    #[must_use]
    pub fn with(mut self, fact: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(fact.to_owned(), value.into());
        self
    }
}

impl Anomaly {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    #[must_use]
    pub fn session(mut self, session: &str) -> Self {
        self.session = Some(session.to_owned());
        self
    }

    #[must_use]
    pub fn node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    #[must_use]
    pub fn at(mut self, revision: u64, version: u64) -> Self {
        (self.revision, self.version) = (Some(revision), Some(version));
        self
    }

    #[must_use]
    pub fn ops(mut self, ops: impl IntoIterator<Item = u64>) -> Self {
        self.ops.extend(ops);
        self
    }

    #[must_use]
    pub const fn time(mut self, time_ns: u64) -> Self {
        self.time_ns = Some(time_ns);
        self
    }
}
