//! Fields of a session's state, as the checkers read them.

use serde_json::Value;

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// A point in time that is written as text, in milliseconds since the Unix epoch.
pub(crate) fn stamp_ms(state: &Value, field: &str) -> Option<i64> {
    let text = state.get(field)?.as_str()?;
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

pub(crate) fn version(state: &Value) -> Option<u64> {
    state.get("version")?.as_u64()
}

/// Tells one life of a session from another one of the same id.
pub(crate) fn born(state: &Value) -> Option<&str> {
    state.get("created_at")?.as_str()
}

/// A number that may be missing.
pub(crate) fn number(state: &Value, field: &str) -> Option<i64> {
    state.get(field)?.as_i64()
}

/// What a change says of its cause.
pub(crate) fn word<'a>(cause: &'a Value, field: &str) -> &'a str {
    cause.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A moment on the runner's clock, for arithmetic below zero.
pub(crate) fn signed(time_ns: u64) -> i64 {
    i64::try_from(time_ns).unwrap_or(i64::MAX)
}

/// Whole milliseconds of nanoseconds.
pub(crate) const fn to_ms(nanos: u64) -> u64 {
    nanos / 1_000_000
}
