//! Wrong wall clocks for a program that has no hook for them: libfaketime stands between it and the
//! C library. It cannot change how fast time goes.

use std::{fs, io, path::Path, time::Duration};

use crate::{
    db::{cluster::Cluster, node::Node},
    nemesis::look,
};

/// Where distributions put it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
const FILE: &str = "faketime";
const STOP_WITHIN: Duration = Duration::from_secs(10);
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Where the library is, on a machine that has it.
pub(super) fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}

/// Restarts the node so that its wall clock can be set, unless it was restarted so before.
pub(super) async fn prepare(
    cluster: &Cluster,
    node: &Node,
    library: &str,
    because: &str,
) -> io::Result<()> {
    let file = node.home.join(FILE);
    if file.exists() {
        return Ok(());
    }
    set(node, 0)?;
    let path = file.display().to_string();
    let variables = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", path.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    for (name, value) in variables {
        node.set_environment(name, Some(value));
    }
    node.terminate(because, STOP_WITHIN).await;
    node.start()?;
    look::await_caught_up(cluster, node, READY_WITHIN).await;
    Ok(())
}

/// Sets the wall clock of a prepared node.
pub(super) fn set(node: &Node, offset_ms: i64) -> io::Result<()> {
    let fresh = node.home.join("faketime.new");
    fs::write(&fresh, format!("{}\n", offset(offset_ms)))?;
    fs::rename(&fresh, node.home.join(FILE))
}

/// Is its wall clock right, or was it never prepared?
pub(super) fn is_right(node: &Node) -> bool {
    match fs::read_to_string(node.home.join(FILE)) {
        Ok(text) => text.trim() == offset(0),
        Err(_) => true,
    }
}

/// Seconds with a sign, as the library reads them.
fn offset(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { '-' } else { '+' }, ms.unsigned_abs());
    format!("{sign}{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_signed_seconds() {
        let cases = [(0, "+0.000"), (-200, "-0.200"), (3_600_000, "+3600.000"), (-1_005, "-1.005")];
        for (ms, text) in cases {
            assert_eq!(offset(ms), text);
        }
    }
}
