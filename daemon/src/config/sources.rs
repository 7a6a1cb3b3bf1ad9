//! Where values come from, and how a mistake in one of them is told.

use std::path::{Path, PathBuf};

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Map, Value},
};
use serde::Serialize;

use super::{Config, HOME_FILE, check::CheckError};

/// Environment variables of the form `SYNCKAIROS_HTTP__LISTEN`.
const PREFIX: &str = "SYNCKAIROS_";

/// v2's variables, and what they are now.
const V2_VARIABLES: [(&str, &str); 5] = [
    ("LOG_LEVEL", "log.level"),
    ("CORS_ORIGIN", "http.cors_origin"),
    ("RATE_LIMIT_GENERAL", "http.rate_limit_general"),
    ("RATE_LIMIT_SWITCH", "http.rate_limit_switch"),
    ("NODE_ENV", "http.node_env"),
];

/// Farther apart than this, two names are not a slip of the fingers.
const SUGGESTION_DISTANCE_MAX: usize = 4;

/// Values given on the command line; what is absent is left to the other sources.
#[derive(Clone, Debug, Default, Serialize, clap::Args)]
pub(crate) struct Flags {
    /// Where clients reach this node, host:port
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_listen: Option<String>,
    /// Where this node keeps its data
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<String>,
}

/// The configuration cannot be used. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read the configuration file {path}: {source}; check the path and its rights")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// Reads and checks the configuration of a node. Without a `file`, that in the data directory
/// counts.
///
/// # Errors
/// [`LoadError`], worded for the operator.
pub(crate) fn load(file: Option<&Path>, flags: &Flags) -> Result<Config, LoadError> {
    let (config, _) = read(file, flags)?;
    if let (None, 0, Some(dir)) = (file, config.node.id, &flags.data_dir) {
        return Err(CheckError::NoHome { dir: dir.clone() }.into());
    }
    config.check()?;
    Ok(config)
}

/// As [`load`], without the checks between settings, and with the sources.
///
/// # Errors
/// [`LoadError`] where a source cannot be read.
pub(crate) fn read(file: Option<&Path>, flags: &Flags) -> Result<(Config, Figment), LoadError> {
    let home_file = flags.data_dir.as_ref().map(|dir| dir.join(HOME_FILE));
    let home_file = home_file.filter(|path| path.exists());
    let figment = figment(file.or(home_file.as_deref()), flags)?;
    let config = figment.extract().map_err(|error| LoadError::Invalid(explain(&error)))?;
    Ok((config, figment))
}

/// All sources, merged in their order.
fn figment(file: Option<&Path>, flags: &Flags) -> Result<Figment, LoadError> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(path) = file {
        // figment takes a missing file for an empty one.
        std::fs::File::open(path)
            .map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
        figment = figment.merge(Toml::file_exact(path));
    }
    for (variable, key) in V2_VARIABLES {
        figment = figment.merge(Env::raw().only(&[variable]).map(move |_| key.into()).split("."));
    }
    if let Ok(port) = std::env::var("PORT") {
        let port = port_variable(&figment, &port)?;
        figment = figment.merge(port);
    }
    figment = figment.merge(environment().split("__"));
    let given = [
        ("http.listen", flags.http_listen.clone()),
        ("node.data_dir", flags.data_dir.as_ref().map(|dir| dir.display().to_string())),
        ("log.level", flags.log_level.clone()),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            figment = figment.merge(Named { source: "command line", key, value });
        }
    }
    Ok(figment)
}

fn environment() -> Env {
    let environment = Env::prefixed(PREFIX);
    // Not a setting: it names the file by which tests set the node's clocks wrong.
    #[cfg(debug_assertions)]
    let environment = environment.ignore(&["test_clock"]);
    // No setting either: it names a defect.
    #[cfg(feature = "planted-bugs")]
    let environment = environment.ignore(&["plant"]);
    environment
}

/// v2's `PORT` moves the client port and leaves the address as it is.
fn port_variable(figment: &Figment, port: &str) -> Result<Named, LoadError> {
    let port: u16 = port.parse().map_err(|_| {
        LoadError::Invalid(format!("PORT is {port:?}; it must be a port number, 1 to 65535"))
    })?;
    let listen: String = figment.extract_inner("http.listen").unwrap_or_default();
    let host = listen.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
    let value = format!("{host}:{port}");
    Ok(Named { source: "environment variable PORT", key: "http.listen", value })
}

/// One value from a source of its own.
struct Named {
    source: &'static str,
    key: &'static str,
    value: String,
}

impl figment::Provider for Named {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.source)
    }

    fn data(&self) -> figment::Result<Map<figment::Profile, Dict>> {
        let nested = figment::util::nest(self.key, Value::from(self.value.clone()));
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Map::from([(figment::Profile::Default, dict)]))
    }
}

/// figment's error in one line, with the nearest known name for an unknown one.
fn explain(error: &figment::Error) -> String {
    let place = error.metadata.as_ref().map_or_else(String::new, |metadata| {
        let source =
            metadata.source.as_ref().map_or_else(String::new, |source| format!(" {source}"));
        format!(" (from {}{source})", metadata.name)
    });
    let path = error.path.join(".");
    let Kind::UnknownField(name, known) = &error.kind else {
        let reason = one_line(&error.kind);
        return if path.is_empty() {
            format!("the configuration cannot be read{place}: {reason}")
        } else {
            format!("`{path}`{place}: {reason}")
        };
    };
    let section = error
        .path
        .split_last()
        .map_or(&error.path[..], |(last, rest)| if last == name { rest } else { &error.path[..] });
    let full: Vec<&str> = section.iter().map(String::as_str).chain([name.as_str()]).collect();
    let hint = nearest(name, known).map_or_else(
        || format!("known here: {}", known.join(", ")),
        |nearest| format!("did you mean `{nearest}`?"),
    );
    format!("unknown key `{}`{place}; {hint}", full.join("."))
}

/// TOML's parser draws the place under the line; the last line of a log has no room for that.
fn one_line(kind: &Kind) -> String {
    let text = kind.to_string();
    let told = text.lines().filter(|line| !line.contains('|') && !line.trim().is_empty());
    told.collect::<Vec<_>>().join(", ")
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(name, candidate);
    let best = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(best) <= SUGGESTION_DISTANCE_MAX.min(name.len())).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(toml: &str) -> String {
        let figment =
            Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(toml));
        explain(&figment.extract::<Config>().unwrap_err())
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        let table = [
            ("[http]\nlisen = \"127.0.0.1:1\"", "`http.lisen`", "`listen`"),
            (
                "[raft]\nheartbeat_interval = 5",
                "`raft.heartbeat_interval`",
                "`heartbeat_interval_ms`",
            ),
            ("[nodes]\nid = 1", "`nodes`", "`node`"),
            ("[node]\nzzzzzzzzzz = 1", "`node.zzzzzzzzzz`", "known here: id, data_dir"),
        ];
        for (toml, key, hint) in table {
            let error = error_of(toml);
            assert!(error.contains(key) && error.contains(hint), "{toml}: {error}");
        }
    }

    #[test]
    fn a_data_directory_may_have_its_configuration_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Some(directory.path().to_owned());
        let flags = Flags { data_dir, ..Flags::default() };
        let node = |file: Option<&Path>| read(file, &flags).unwrap().0.node;
        assert_eq!(node(None).id, 0);
        std::fs::write(directory.path().join(HOME_FILE), "node.id = 7\nnode.data_dir = \"x\"")
            .unwrap();
        assert_eq!(node(None).id, 7);
        assert_eq!(node(None).data_dir, directory.path(), "as the flag says");
        let named = directory.path().join("named.toml");
        std::fs::write(&named, "node.id = 8").unwrap();
        assert_eq!(node(Some(&named)).id, 8);
        assert_eq!(read(None, &Flags::default()).unwrap().0.node.id, 0);
    }

    #[test]
    fn a_wrong_type_names_the_key() {
        assert!(error_of("[node]\nid = \"one\"").contains("`node.id`"));
    }
}
