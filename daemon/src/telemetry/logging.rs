//! Log lines on standard error: set up once, and the line that each request leaves.
//!
//! Nothing from a request is written raw: what a client chose is escaped, and neither bodies nor
//! headers appear.

use std::time::Duration;

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, util::TryInitError};

use crate::config::LogFormat;

/// Logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogInitError {
    #[error("log.level is {level:?}, which is neither a level nor a filter: {source}")]
    Level { level: String, source: ParseError },
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// What the log tells of one request.
pub(crate) struct Access<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) client: std::net::IpAddr,
}

/// Sends log lines to standard error from now on.
///
/// `level` is a level of v2 (`fatal` and `silent` among them), or a filter such as
/// `info,openraft=warn`.
///
/// # Errors
/// [`LogInitError`] where `level` cannot be read, or where this was called before.
pub(crate) fn init(level: &str, format: LogFormat) -> Result<(), LogInitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = filter(level)?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    match format {
        LogFormat::Text => lines.with_ansi(false).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// Writes the line of one request; the node's own failures are louder.
pub(crate) fn access(access: &Access<'_>) {
    let took_us = u64::try_from(access.took.as_micros()).unwrap_or(u64::MAX);
    let Access { request_id, method, path, status, client, .. } = *access;
    if status >= 500 {
        tracing::warn!(
            target: "synckairos::access", request_id, method, ?path, status, took_us, %client, "request"
        );
    } else {
        tracing::info!(
            target: "synckairos::access", request_id, method, ?path, status, took_us, %client, "request"
        );
    }
}

/// A plain level applies to this program; its libraries stay at `warn`, which is where they say
/// what an operator can use. openraft warns of a dead peer at every heartbeat, which our own
/// transport says once.
fn filter(level: &str) -> Result<EnvFilter, LogInitError> {
    let directives = match level {
        "silent" | "off" => String::from("off"),
        "fatal" | "error" => String::from("error"),
        "warn" => String::from("warn"),
        "info" | "debug" => format!(
            "warn,openraft=error,synckairos={level},synckairos_daemon={level},synckairos_raft_store={level}"
        ),
        other => String::from(other),
    };
    EnvFilter::try_new(&directives)
        .map_err(|source| LogInitError::Level { level: String::from(level), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_v2_and_filters_are_accepted() {
        let levels =
            ["fatal", "error", "warn", "info", "debug", "trace", "silent", "info,openraft=warn"];
        for level in levels {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(matches!(filter("=,="), Err(LogInitError::Level { .. })));
    }
}
