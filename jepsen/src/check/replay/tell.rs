//! Where two states differ.

use serde_json::Value;

use crate::check::state::stamp_ms;

/// When a version was made.
pub(super) fn stamp(state: &Value) -> Option<u64> {
    stamp_ms(state, "updated_at").and_then(|stamp| u64::try_from(stamp).ok())
}

/// The first field in which what was told is not what should be.
pub(super) fn difference(expected: &Value, told: &Value) -> Option<String> {
    match (expected, told) {
        (Value::Object(expected), Value::Object(told)) => {
            let fields = expected.keys().chain(told.keys());
            fields.into_iter().find_map(|field| {
                let nothing = Value::Null;
                let (expected, told) = (expected.get(field), told.get(field));
                if expected.is_some() != told.is_some() {
                    let has = |side: Option<&Value>| {
                        side.map_or_else(|| String::from("missing"), Value::to_string)
                    };
                    return Some(format!("{field} should be {}, is {}", has(expected), has(told)));
                }
                let inner = difference(expected.unwrap_or(&nothing), told.unwrap_or(&nothing))?;
                Some(if inner.starts_with("should") {
                    format!("{field} {inner}")
                } else {
                    format!("{field}.{inner}")
                })
            })
        }
        (Value::Array(expected), Value::Array(told)) if expected.len() == told.len() => {
            expected.iter().zip(told).enumerate().find_map(|(place, (expected, told))| {
                let inner = difference(expected, told)?;
                Some(if inner.starts_with("should") {
                    format!("{place} {inner}")
                } else {
                    format!("{place}.{inner}")
                })
            })
        }
        (expected, told) => (expected != told).then(|| format!("should be {expected}, is {told}")),
    }
}
