//! Reads fields of a JSON object under v2's rules and collects everything that is wrong at once.

use std::str::FromStr;

use serde_json::{Map, Number, Value};

use super::problem::{FieldIssue, IssueCode};
use crate::limits;

/// What an integer field may hold, and how its owner is called in messages.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    pub label: &'a str,
    pub min: u64,
    pub max: Option<u64>,
    pub unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Milliseconds,
}

/// One object of the request, and the path that leads to it.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Empty, or ends with a dot.
    prefix: String,
}

/// Everything found wrong so far, in the order of the schema.
#[derive(Debug, Default)]
pub struct Issues(Vec<FieldIssue>);

impl Issues {
    pub fn add(&mut self, field: String, code: IssueCode, message: impl Into<String>) {
        self.0.push(FieldIssue::new(field, code, message));
    }

    /// How much was found wrong so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `value` where nothing is wrong.
    ///
    /// # Errors
    /// Everything that was found wrong. A value that is absent without an issue is a bug of the
    /// reader; it is reported as a root issue.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldIssue>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ if self.0.is_empty() => {
                Err(vec![FieldIssue::new("", IssueCode::InvalidValue, "Invalid input")])
            }
            _ => Err(self.0),
        }
    }
}

impl<'a> Fields<'a> {
    /// The object at `path`, which is empty for the body as a whole.
    pub fn open(value: &'a Value, path: &str, issues: &mut Issues) -> Option<Self> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        match value {
            Value::Object(object) => Some(Self { object, prefix }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                issues.add(
                    String::from(path),
                    IssueCode::InvalidType,
                    wrong_type("object", Some(value)),
                );
                None
            }
        }
    }

    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key)
    }

    /// An id that must be there.
    pub fn id<T: FromStr>(&self, key: &str, label: &str, issues: &mut Issues) -> Option<T> {
        match self.object.get(key) {
            Some(Value::String(text)) => {
                let id = text.parse().ok();
                if id.is_none() {
                    let message = format!("{label} is not a UUID");
                    issues.add(self.path(key), IssueCode::InvalidFormat, message);
                }
                id
            }
            other => {
                self.wrong_type(key, "string", other, issues);
                None
            }
        }
    }

    /// An id that may be absent, but not null.
    pub fn optional_id<T: FromStr>(
        &self,
        key: &str,
        label: &str,
        issues: &mut Issues,
    ) -> Option<T> {
        self.object.contains_key(key).then(|| self.id(key, label, issues)).flatten()
    }

    /// A whole number that must be there. `1000.0` and `1.2e5` are whole.
    pub fn integer(&self, key: &str, bounds: Bounds<'_>, issues: &mut Issues) -> Option<u64> {
        let Some(Value::Number(number)) = self.object.get(key) else {
            self.wrong_type(key, "number", self.object.get(key), issues);
            return None;
        };
        bounds.check(number, &self.path(key), issues)
    }

    /// A whole number that may be absent, but not null.
    pub fn optional_integer(
        &self,
        key: &str,
        bounds: Bounds<'_>,
        issues: &mut Issues,
    ) -> Option<u64> {
        self.object.contains_key(key).then(|| self.integer(key, bounds, issues)).flatten()
    }

    pub fn optional_bool(&self, key: &str, issues: &mut Issues) -> Option<bool> {
        match self.object.get(key) {
            None => None,
            Some(Value::Bool(given)) => Some(*given),
            other => {
                self.wrong_type(key, "boolean", other, issues);
                None
            }
        }
    }

    pub fn wrong_type(
        &self,
        key: &str,
        expected: &str,
        received: Option<&Value>,
        issues: &mut Issues,
    ) {
        issues.add(self.path(key), IssueCode::InvalidType, wrong_type(expected, received));
    }
}

/// v2's message for a value of the wrong type; `None` is a missing one.
pub fn wrong_type(expected: &str, received: Option<&Value>) -> String {
    let received = match received {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    };
    format!("Invalid input: expected {expected}, received {received}")
}

/// A JSON number as JavaScript sees it.
enum Whole {
    Value(u64),
    Negative,
    /// Beyond the integers that a JSON reader keeps exactly.
    Huge,
    HugeNegative,
    Fraction,
}

impl Bounds<'_> {
    /// The number, or one issue for each bound that it breaks: one that is too large to be exact
    /// breaks two, as in v2.
    pub fn check(self, number: &Number, path: &str, issues: &mut Issues) -> Option<u64> {
        let mut broken = |code: IssueCode, message: String| {
            issues.add(String::from(path), code, message);
        };
        match whole(number) {
            Whole::Value(value) if value < self.min => {
                broken(IssueCode::TooSmall, self.too_small());
            }
            Whole::Value(value) => match self.max {
                Some(max) if max < value => broken(IssueCode::TooBig, self.too_big(max)),
                Some(_) | None => return Some(value),
            },
            Whole::Negative => broken(IssueCode::TooSmall, self.too_small()),
            Whole::Huge => {
                broken(IssueCode::TooBig, self.no_integer());
                if let Some(max) = self.max {
                    broken(IssueCode::TooBig, self.too_big(max));
                }
            }
            Whole::HugeNegative => {
                broken(IssueCode::TooSmall, self.no_integer());
                broken(IssueCode::TooSmall, self.too_small());
            }
            Whole::Fraction => broken(IssueCode::InvalidType, self.no_integer()),
        }
        None
    }

    fn no_integer(self) -> String {
        format!("{} is not a whole number", self.label)
    }

    fn too_small(self) -> String {
        match self.min {
            0 => format!("{} is below 0", self.label),
            min => format!("{} is below the least allowed, {}", self.label, self.amount(min)),
        }
    }

    fn too_big(self, max: u64) -> String {
        format!("{} is above the most allowed, {}", self.label, self.amount(max))
    }

    /// `86400000ms (24 hours)`
    fn amount(self, value: u64) -> String {
        if self.unit == Unit::Count {
            return value.to_string();
        }
        let words = [(3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
        let fitting =
            words.into_iter().find(|(size, _)| *size <= value && value.is_multiple_of(*size));
        match fitting {
            Some((size, word)) if value == size => format!("{value}ms (1 {word})"),
            Some((size, word)) => format!("{value}ms ({} {word}s)", value / size),
            None => format!("{value}ms"),
        }
    }
}

fn whole(number: &Number) -> Whole {
    if let Some(value) = number.as_u64() {
        return if value <= limits::SAFE_INTEGER_MAX { Whole::Value(value) } else { Whole::Huge };
    }
    if let Some(value) = number.as_i64() {
        let exact = value.unsigned_abs() <= limits::SAFE_INTEGER_MAX;
        return if exact { Whole::Negative } else { Whole::HugeNegative };
    }
    let value = number.as_f64().unwrap_or(f64::MAX);
    // 2^53 is the first integer that shares its double with another one.
    let unsafe_from = 9_007_199_254_740_992.0;
    if value.fract() != 0.0 {
        Whole::Fraction
    } else if unsafe_from <= value {
        Whole::Huge
    } else if value <= -unsafe_from {
        Whole::HugeNegative
    } else if value < 0.0 {
        Whole::Negative
    } else {
        // Prints without exponent or fraction, so it reads back exactly.
        format!("{value:.0}").parse().map_or(Whole::Value(0), Whole::Value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_as_v2_reads_them() {
        let clock =
            Bounds { label: "T", min: 1_000, max: Some(86_400_000), unit: Unit::Milliseconds };
        let index = Bounds { label: "I", min: 0, max: None, unit: Unit::Count };
        let table = [
            (clock, "1000.0", Some(1_000), ""),
            (clock, "1.2e5", Some(120_000), ""),
            (clock, "86400000", Some(86_400_000), ""),
            (clock, "86400001", None, "TooBig:T is above the most allowed, 86400000ms (24 hours)"),
            (clock, "999", None, "TooSmall:T is below the least allowed, 1000ms (1 second)"),
            (clock, "-5", None, "TooSmall:T is below the least allowed, 1000ms (1 second)"),
            (clock, "1000.5", None, "InvalidType:T is not a whole number"),
            (
                clock,
                "9007199254740992",
                None,
                "TooBig:T is not a whole number|TooBig:T is above the most allowed, 86400000ms (24 hours)",
            ),
            (
                clock,
                "1e300",
                None,
                "TooBig:T is not a whole number|TooBig:T is above the most allowed, 86400000ms (24 hours)",
            ),
            (index, "0", Some(0), ""),
            (index, "-0.0", Some(0), ""),
            (index, "-1", None, "TooSmall:I is below 0"),
            (index, "9007199254740991", Some(9_007_199_254_740_991), ""),
            (index, "9007199254740992", None, "TooBig:I is not a whole number"),
            (index, "-1e300", None, "TooSmall:I is not a whole number|TooSmall:I is below 0"),
        ];
        for (bounds, text, value, complaints) in table {
            let number: Number = serde_json::from_str(text).unwrap();
            let mut issues = Issues::default();
            assert_eq!(bounds.check(&number, "f", &mut issues), value, "{text}");
            let found: Vec<String> = issues
                .0
                .iter()
                .map(|issue| format!("{:?}:{}", issue.code, issue.message))
                .collect();
            assert_eq!(found.join("|"), complaints, "{text}");
        }
    }

    #[test]
    fn amounts_are_worded_as_in_v2() {
        let bounds = Bounds { label: "", min: 0, max: None, unit: Unit::Milliseconds };
        let table = [
            (1_000, "1000ms (1 second)"),
            (60_000, "60000ms (1 minute)"),
            (86_400_000, "86400000ms (24 hours)"),
            (1_234, "1234ms"),
        ];
        for (value, text) in table {
            assert_eq!(bounds.amount(value), text);
        }
    }

    #[test]
    fn types_are_named_as_javascript_names_them() {
        let table = [
            (None, "undefined"),
            (Some(json!(null)), "null"),
            (Some(json!([])), "array"),
            (Some(json!({})), "object"),
            (Some(json!(true)), "boolean"),
        ];
        for (value, word) in table {
            let message = wrong_type("string", value.as_ref());
            assert_eq!(message, format!("Invalid input: expected string, received {word}"));
        }
    }
}
