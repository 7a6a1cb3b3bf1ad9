//! What a backup is, for people and for scripts.

use std::path::Path;

use serde::Serialize;
use synckairos_protocol::time::Stamp;
use synckairos_raft_store::backup::ManifestV1;

use crate::cli::{CliError, Output, print, print_json};

#[derive(Serialize)]
struct Shown {
    file: String,
    bytes: u64,
    cluster_id: String,
    /// The node that wrote it.
    node: u64,
    version: String,
    /// By that node's wall clock, ISO 8601.
    created_at: String,
    revision: u64,
    /// At that revision, ISO 8601.
    cluster_time: String,
    level: u16,
    sessions: u64,
    /// Kept for retries.
    answers: u64,
}

pub(super) fn show(
    file: &Path,
    manifest: &ManifestV1,
    bytes: u64,
    output: Output,
) -> Result<(), CliError> {
    let ManifestV1 { origin, revision, cluster_time, level, sessions, answers } = manifest.clone();
    let shown = Shown {
        file: file.display().to_string(),
        bytes,
        cluster_id: origin.cluster,
        node: origin.node,
        version: origin.version,
        created_at: Stamp::from_unix_millis(origin.created_unix_ms).to_iso(),
        revision,
        cluster_time: cluster_time.to_iso(),
        level,
        sessions,
        answers,
    };
    if output == Output::Json {
        return print_json(&shown);
    }
    let Shown { file, cluster_id, node, version, created_at, cluster_time, .. } = shown;
    print(format_args!("{file}: a whole backup of cluster {cluster_id}, {bytes} bytes"))?;
    print(format_args!("revision      {revision}"))?;
    print(format_args!("cluster time  {cluster_time}"))?;
    print(format_args!("format level  {level}"))?;
    print(format_args!("sessions      {sessions}"))?;
    print(format_args!("answers       {answers}"))?;
    print(format_args!("taken         {created_at} by node {node}, version {version}"))
}
