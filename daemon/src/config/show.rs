//! `synckairos config show`: every value, and where it came from.

use figment::Figment;
use serde::Serialize;

use super::Config;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: serde_json::Value,
    pub(crate) source: String,
}

/// One row a value, in the order of the sections.
///
/// # Errors
/// What serde says where a value cannot be written down.
pub(crate) fn settings(
    figment: &Figment,
    config: &Config,
) -> Result<Vec<Setting>, serde_json::Error> {
    let mut rows = Vec::new();
    collect(figment, String::new(), serde_json::to_value(config)?, &mut rows);
    Ok(rows)
}

fn collect(figment: &Figment, key: String, value: serde_json::Value, rows: &mut Vec<Setting>) {
    if let serde_json::Value::Object(fields) = value {
        for (name, field) in fields {
            let path = if key.is_empty() { name } else { format!("{key}.{name}") };
            collect(figment, path, field, rows);
        }
        return;
    }
    rows.push(Setting { source: source_of(figment, &key), key, value });
}

fn source_of(figment: &Figment, key: &str) -> String {
    let Some(metadata) = figment.find_metadata(key) else { return String::from("default") };
    match &metadata.source {
        Some(figment::Source::File(path)) => format!("file {}", path.display()),
        Some(figment::Source::Code(_)) => String::from("default"),
        Some(other) => other.to_string(),
        None => metadata.name.to_string(),
    }
}
