//! House rules that a machine can check.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use synckairos_tests::binary;

const LINES_MAX: usize = 600;
const VAGUE_NAMES: [&str; 6] =
    ["util.rs", "utils.rs", "helpers.rs", "common.rs", "misc.rs", "types.rs"];

/// Where openraft's types may appear: nothing else of the program depends on the engine.
const ENGINE_ROOM: [&str; 4] =
    ["raft-store/", "daemon/src/raft/", "daemon/src/sessions/", "daemon/src/node"];

/// The one place where tests wait, and a stand-in for a server that is slow on purpose.
const MAY_SLEEP: [&str; 2] = ["tests/src/wait.rs", "daemon/src/cli/bench/load.rs"];

/// Spelled apart, so that this file does not break its own rules.
const FORBIDDEN: [[&str; 2]; 7] = [
    ["to", "do!("],
    ["unimple", "mented!("],
    ["db", "g!("],
    ["FIX", "ME"],
    ["XX", "X"],
    ["#[ig", "nore"],
    ["#[should_", "panic"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files below `directory` with this extension, built ones left out.
fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|actual| actual == extension) {
            found.push(path);
        }
    }
}

/// Every source file: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let (root, mut found) = (root(), Vec::new());
    files(&root, "rs", &mut found);
    assert!(50 < found.len(), "the sources are where they should be");
    let relative = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn source_files_are_tidy() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let name = path.rsplit('/').next().unwrap();
        let mut complain = |rule: &str| complaints.push(format!("{path}: {rule}"));
        if LINES_MAX < text.lines().count() {
            complain("longer than 600 lines: split it along a seam that a newcomer would expect");
        }
        if VAGUE_NAMES.contains(&name) {
            complain("a file is named after what it holds");
        }
        if !text.starts_with("//!") {
            complain("start with a `//!` sentence that says what the module is for");
        }
        for forbidden in FORBIDDEN {
            let word = forbidden.concat();
            if text.contains(&word) {
                complain(&format!("`{word}` is not for committed code"));
            }
        }
    }
    none(&complaints);
}

/// The part of a file that is compiled for tests only.
fn test_code<'a>(path: &str, text: &'a str) -> &'a str {
    let name = path.rsplit('/').next().unwrap();
    let all = name.ends_with("_tests.rs") || name == "tests.rs" || path.contains("tests/");
    if all {
        text
    } else {
        text.split_once("#[cfg(test)]\nmod tests {").map_or("", |(_, tests)| tests)
    }
}

#[test]
fn tests_wait_for_conditions() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let sleeps = ["sle", "ep("].concat();
        let may = MAY_SLEEP.contains(&path.as_str());
        if !may && test_code(&path, &text).contains(&sleeps) {
            complaints.push(format!("{path}: wait for a condition with a deadline"));
        }
    }
    none(&complaints);
}

#[test]
fn the_engine_stays_in_its_room() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let engine = ["openraft", "::"].concat();
        let inside = ENGINE_ROOM.iter().any(|room| path.starts_with(room));
        if !inside && text.contains(&engine) {
            complaints.push(format!("{path}: openraft's types stay in {ENGINE_ROOM:?}"));
        }
        let codec = ["bincode", "::"].concat();
        if path != "protocol/src/codec.rs" && text.contains(&codec) {
            complaints.push(format!("{path}: only protocol/src/codec.rs encodes and decodes"));
        }
        let client = ["synckairos_", "client"].concat();
        let server = path.starts_with("daemon/") && !path.starts_with("daemon/src/cli/");
        if (server || path.starts_with("raft-store/")) && text.contains(&client) {
            complaints.push(format!("{path}: only the command line uses the client crate"));
        }
    }
    none(&complaints);
}

#[test]
fn documents_name_files_that_exist() {
    let (root, mut complaints) = (root(), Vec::new());
    for name in ["README.md", "ARCHITECTURE.md"] {
        // Whether there are documents is for their readers to say.
        let Ok(text) = fs::read_to_string(root.join(name)) else { continue };
        for target in links(&text) {
            if !root.join(target).exists() {
                complaints.push(format!("{name}: {target} does not exist"));
            }
        }
    }
    none(&complaints);
}

/// Link targets inside the repository, and paths in backquotes that start at the root.
fn links(text: &str) -> Vec<&str> {
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let linked = linked.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let linked = linked.map(|target| target.split('#').next().unwrap());
    let top =
        ["protocol/", "raft-store/", "client/", "daemon/", "tests/", "jepsen/", "cluster-configs/"];
    let quoted = text.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|word| top.iter().any(|top| word.starts_with(top)));
    let quoted = quoted.filter(|word| !word.contains(['*', '{', ' ', '<', '…']));
    linked.chain(quoted).collect()
}

/// Every ready configuration is understood, and says something.
#[test]
fn ready_configurations_are_read() {
    let mut found = Vec::new();
    files(&root().join("cluster-configs"), "toml", &mut found);
    assert!(12 <= found.len(), "{found:?}");
    for path in found {
        let output = Command::new(binary::path())
            .args(["config", "show", "-o", "json", "--config"])
            .arg(&path)
            .env_clear()
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", path.display());
        let settings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let value = |key: &str| {
            let setting = settings.iter().find(|setting| setting["key"] == key);
            setting.unwrap_or_else(|| panic!("{key} in {}", path.display())).clone()
        };
        let source = value("node.id")["source"].as_str().unwrap().to_owned();
        assert!(source.starts_with("file "), "{}: {source}", path.display());
        let members = value("cluster.members")["value"].as_array().unwrap().clone();
        assert!(members.iter().any(|member| member["id"] == value("node.id")["value"]));
    }
}

/// What sets clocks wrong is for tests, and no release has it.
#[test]
fn releases_have_no_test_clock() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let release = manifest["profile"]["release"].as_table().unwrap();
    for key in ["debug-assertions", "package", "inherits"] {
        assert!(!release.contains_key(key), "profile.release sets {key}");
    }
    let raft = fs::read_to_string(root().join("daemon/src/raft/mod.rs")).unwrap();
    assert!(raft.contains("#[cfg(debug_assertions)]\nmod test_clock;"));
    let variable = ["SYNCKAIROS_TEST_", "CLOCK"].concat();
    let server =
        |path: &str| path.starts_with("daemon/") && path != "daemon/src/raft/test_clock.rs";
    for (path, text) in sources().iter().filter(|(path, _)| server(path)) {
        assert!(!text.contains(&variable), "{path} knows the test clock's variable");
    }
}

/// Metric names in the dashboard and in the rules are names that the program knows.
#[test]
fn dashboards_and_rules_name_real_metrics() {
    let mut found = Vec::new();
    files(&root().join("daemon/src/telemetry"), "rs", &mut found);
    let known: String = found.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let configs = root().join("cluster-configs");
    let mut complaints = Vec::new();
    for name in ["prometheus-rules.yml", "grafana-dashboard.json"] {
        let text = fs::read_to_string(configs.join(name)).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.starts_with("synckairos_")) {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word);
            if ![word, base].iter().any(|name| known.contains(&format!("\"{name}\""))) {
                complaints.push(format!("{name}: {word} is no metric"));
            }
        }
    }
    none(&complaints);
    let dashboard = fs::read_to_string(configs.join("grafana-dashboard.json")).unwrap();
    let _: Value = serde_json::from_str(&dashboard).unwrap();
}
