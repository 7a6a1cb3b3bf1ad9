//! House rules of the pure crate: no way to I/O, clocks, threads or unordered iteration.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

const DEPENDENCIES: [&str; 7] =
    ["bincode", "blake3", "crc32c", "jiff", "serde", "serde_json", "thiserror"];

/// Replicas would disagree, or could wait for something outside.
const IMPURE: [&str; 11] = [
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "HashMap",
    "HashSet",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
];

/// Allowed in the JSON forms, where clients may write `1.2e5`.
const INEXACT: [&str; 2] = ["f32", "f64"];

#[test]
fn dependencies_are_pure() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let mut names: Vec<&str> = lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split(['.', ' ', '=']).next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, DEPENDENCIES, "the machine may not gain I/O through a dependency");
    assert_eq!(manifest.matches("dependencies").count(), 2, "no build or target dependencies");
}

#[test]
fn sources_mention_nothing_impure() {
    let mut complaints = Vec::new();
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let (code, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        for (number, line) in (1..).zip(code.lines()) {
            let inexact = INEXACT.iter().filter(|_| !path.starts_with(root().join("src/wire")));
            let words = IMPURE.iter().chain(inexact).filter(|word| mentions(line, word));
            complaints.extend(words.map(|word| format!("{}:{number}: {word}", path.display())));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_mention_is_a_whole_word() {
    assert!(mentions("use std::{collections::HashMap};", "HashMap"));
    assert!(mentions("let now = Instant::now();", "Instant"));
    assert!(!mentions("/// Instants of cluster time.", "Instant"));
    assert!(!mentions("fn std_environment()", "std::env"));
}

fn mentions(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// Every source file but those that only tests see.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_test = name == "tests" || name.ends_with("_tests") || is_declared_test(&path, &name);
        if is_test {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Does the module beside it declare it under `#[cfg(test)]`?
fn is_declared_test(path: &Path, name: &str) -> bool {
    let parent = fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
    parent.contains(&format!("#[cfg(test)]\nmod {name};"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
