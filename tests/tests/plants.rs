//! The defects that are there to be found are in no program that anybody installs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use synckairos_tests::binary;

const FEATURE: &str = "planted-bugs";
const GATE: &str = "#[cfg(feature = \"planted-bugs\")]\n";
/// What stands before the id of each defect. Spelled apart: programs are searched for it.
const MARKER: [&str; 2] = ["planted-", "bug:"];
/// The table of them.
const PLANT: &str = "protocol/src/plant.rs";
/// The crates that may be built with them.
const CRATES: [&str; 3] = ["protocol", "raft-store", "daemon"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn manifest(directory: &str) -> toml::Table {
    read(&format!("{directory}/Cargo.toml")).parse().unwrap()
}

/// The sources of the product: each path from the root, with its text.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest: Vec<PathBuf> = CRATES.iter().map(|name| root().join(name).join("src")).collect();
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rest.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// The variants of `Plant`, with the ids by which they are asked for.
fn plants() -> BTreeMap<String, String> {
    let text = read(PLANT);
    let (_, table) = text.split_once("\nplants! {\n").unwrap();
    let (table, _) = table.split_once("\n}\n").unwrap();
    let rows = table.lines().filter_map(|line| line.trim().split_once(" = "));
    rows.map(|(name, id)| (name.to_owned(), id.trim_matches(['"', ',']).to_owned())).collect()
}

/// Without the feature there is no module to name a defect from, so the compiler refuses whatever
/// is not behind it too.
#[test]
fn every_defect_is_behind_the_feature() {
    let sources = sources();
    let gated = |path: &str, item: &str| {
        let text = &sources[path];
        assert!(
            text.contains(&format!("{GATE}{item}")),
            "{path}: `{item}` is not behind {FEATURE}"
        );
        assert_eq!(text.matches(item).count(), 1, "{path}: `{item}` is there twice");
    };
    gated("protocol/src/lib.rs", "pub mod plant;");
    gated("raft-store/src/lib.rs", "mod planted;");
    gated("daemon/src/lib.rs", "mod planted;");
    let not = ["not(feature = \"", FEATURE].concat();
    let variable = ["SYNCKAIROS_", "PLANT"].concat();
    let marker = MARKER.concat();
    for (path, text) in &sources {
        assert!(!text.contains(&not), "{path}: the program without defects is the plain text");
        let main = path == "daemon/src/planted_main.rs";
        assert!(main || !text.contains(&variable), "{path} knows the variable");
        assert!(path == PLANT || !text.contains(&marker), "{path} knows the mark");
    }
}

#[test]
fn every_defect_is_planted_somewhere() {
    let plants = plants();
    assert!(24 <= plants.len(), "{plants:?}");
    assert_eq!(plants.values().collect::<BTreeSet<_>>().len(), plants.len(), "ids are distinct");
    let mut sites: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, text) in sources().iter().filter(|(path, _)| *path != PLANT) {
        for rest in text.split("Plant::").skip(1) {
            let name = rest.split(|letter: char| !letter.is_alphanumeric()).next().unwrap();
            let known = plants.get_key_value(name).unwrap_or_else(|| panic!("{path}: {name}"));
            *sites.entry(known.0).or_default() += 1;
        }
    }
    let idle: Vec<&String> =
        plants.keys().filter(|name| !sites.contains_key(name.as_str())).collect();
    assert!(idle.is_empty(), "nothing asks for {idle:?}");
}

/// Nobody gets it without asking for it by name, and a release does not get it at all.
#[test]
fn only_who_asks_gets_the_feature() {
    for directory in ["protocol", "raft-store", "client", "daemon", "tests", "jepsen"] {
        let manifest = manifest(directory);
        let features = manifest.get("features").and_then(toml::Value::as_table);
        let names: Vec<&String> = features.map_or(Vec::new(), |table| table.keys().collect());
        let expected: &[&str] = if CRATES.contains(&directory) { &[FEATURE] } else { &[] };
        assert_eq!(names, expected, "{directory}: no default turns it on");
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(kind).map(ToString::to_string).unwrap_or_default();
            assert!(!dependencies.contains(FEATURE), "{directory}: {kind} turn it on");
        }
    }
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    assert!(!workspace["workspace"].to_string().contains(FEATURE));
    let programs = manifest("daemon")["bin"].as_array().unwrap().clone();
    for program in &programs {
        let name = program["name"].as_str().unwrap();
        let required = program.get("required-features").map(ToString::to_string);
        assert_eq!(required.is_some_and(|list| list.contains(FEATURE)), name != "synckairos");
    }
    assert_eq!(programs.len(), 2);
    // `releases_have_no_test_clock` sees to it that a release has no debug assertions.
    let refusal = "#[cfg(all(feature = \"planted-bugs\", not(debug_assertions)))]\ncompile_error!(";
    assert!(read("daemon/src/lib.rs").contains(refusal));
}

#[test]
fn the_program_has_no_defect_in_it() {
    let program = binary::path();
    assert!(!is_marked(&program), "{} has planted bugs", program.display());
    // Where there is one that has them, it shows that they would have been seen.
    let planted = program.with_file_name("synckairos-planted");
    assert!(!planted.exists() || is_marked(&planted), "{} has none", planted.display());
}

/// Does this program have the mark of a defect anywhere in it?
fn is_marked(program: &Path) -> bool {
    let (marker, bytes) = (MARKER.concat(), fs::read(program).unwrap());
    let mut rest = &bytes[..];
    while let Some(at) = rest.iter().position(|byte| *byte == marker.as_bytes()[0]) {
        rest = &rest[at..];
        if rest.starts_with(marker.as_bytes()) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
