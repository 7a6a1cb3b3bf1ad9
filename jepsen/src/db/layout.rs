//! A node's files: its configuration and its certificates.

use std::{fs, io, path::Path, process::Command, time::Duration};

use toml::{Table, Value};

use super::{process, program::Program};
use crate::env::Place;

const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// A founder of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    pub id: u64,
    pub place: Place,
}

/// Settings that make a test's few minutes as eventful as a node's weeks, over the defaults.
const SETTINGS: [(&str, &str, i64); 6] = [
    ("http", "rate_limit_general", 0),
    ("http", "rate_limit_switch", 0),
    // Snapshots and purges happen all the time, so that a node that was away needs one.
    ("raft", "snapshot_after_entries", 300),
    ("raft", "log_entries_kept", 100),
    ("disk", "free_min_bytes", 64 << 20),
    ("sessions", "request_timeout_ms", 3_000),
];

/// The authority of a new cluster, made by the program; the cluster's id.
///
/// # Errors
/// What the program says.
pub async fn found(program: &Path, authority: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(["tls", "init", "--dir"]).arg(authority).env_clear();
    Ok(process::run(command, COMMAND_WITHIN).await?.trim().to_owned())
}

/// Certificate and key of a founder, in `home`.
///
/// # Errors
/// What the program says.
pub async fn equip(program: &Path, authority: &Path, home: &Path, id: u64) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(["tls", "issue", "--dir"]).arg(authority).arg("--node").arg(id.to_string());
    command.arg("--out").arg(home).env_clear();
    process::run(command, COMMAND_WITHIN).await.map(|_| ())
}

/// Writes `node.toml` of the founder `id`, who begins with `program`, into `home`.
///
/// # Errors
/// Where it cannot be written.
pub fn configure(
    home: &Path,
    data: &Path,
    authority: &Path,
    (cluster, founders): (&str, &[Founder]),
    (id, program): (u64, &Program),
) -> io::Result<()> {
    let me = founders.iter().find(|founder| founder.id == id);
    let me = me.ok_or_else(|| io::Error::other(format!("no founder has id {id}")))?;
    let path = |path: &Path| Value::from(path.display().to_string());
    let number = |id: u64| i64::try_from(id).map(Value::Integer).map_err(io::Error::other);
    let mut config = Table::new();
    set(&mut config, "node", "id", number(id)?);
    set(&mut config, "node", "data_dir", path(data));
    set(&mut config, "cluster", "id", Value::from(cluster.to_owned()));
    let mut members = Vec::new();
    for Founder { id, place } in founders {
        let mut member = Table::new();
        member.insert(String::from("id"), number(*id)?);
        member.insert(String::from("peer"), Value::from(place.peer.to_string()));
        member.insert(String::from("http"), Value::from(place.http.to_string()));
        members.push(Value::Table(member));
    }
    set(&mut config, "cluster", "members", Value::Array(members));
    set(&mut config, "peer", "listen", Value::from(me.place.peer_listen.to_string()));
    set(&mut config, "peer", "ca", path(&home.join("ca.crt")));
    set(&mut config, "peer", "certificate", path(&home.join("node.crt")));
    set(&mut config, "peer", "key", path(&home.join("node.key")));
    set(&mut config, "peer", "ca_key", path(&authority.join("ca.key")));
    set(&mut config, "http", "listen", Value::from(me.place.http_listen.to_string()));
    tune(&mut config);
    keep_known(&mut config, program);
    fs::write(home.join("node.toml"), config.to_string())
}

/// Adds the settings of a test to the configuration that `cluster join` wrote.
///
/// # Errors
/// Where there is none, or it is no TOML.
pub fn tune_file(file: &Path) -> io::Result<()> {
    let mut config: Table = fs::read_to_string(file)?.parse().map_err(io::Error::other)?;
    tune(&mut config);
    fs::write(file, config.to_string())
}

/// Takes away what this version would refuse as unknown.
fn keep_known(config: &mut Table, program: &Program) {
    for (section, settings) in config.iter_mut() {
        if let Value::Table(settings) = settings {
            settings.retain(|name, _| program.knows(section, name));
        }
    }
    config.retain(|_, settings| settings.as_table().is_none_or(|settings| !settings.is_empty()));
}

fn tune(config: &mut Table) {
    for (section, name, value) in SETTINGS {
        set(config, section, name, Value::Integer(value));
    }
    set(config, "http", "access_log", Value::Boolean(false));
}

fn set(config: &mut Table, section: &str, name: &str, value: Value) {
    let section = config.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(name.to_owned(), value);
    }
}
