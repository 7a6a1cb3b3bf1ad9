//! The transcripts in `golden/transcripts`: commands, `----`, what happened and the state after.
//!
//! `UPDATE_GOLDEN=1` rewrites them; whoever does so reads the difference and can defend it.

use std::{fs, path::Path};

use super::script::Stage;

#[test]
fn transcripts_tell_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/transcripts");
    let mut transcripts = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kept = fs::read_to_string(&path).unwrap();
        let played = play(&kept);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &played).unwrap();
        } else {
            assert_eq!(kept, played, "{}: is this change of behaviour wanted?", path.display());
        }
        transcripts += 1;
    }
    assert!(5 <= transcripts, "{transcripts} transcripts");
}

/// Plays the commands again, on one machine, and tells what happens now.
fn play(transcript: &str) -> String {
    let mut stage = Stage::default();
    let paragraphs = transcript.trim().split("\n\n").map(|paragraph| {
        let lines = paragraph.lines().take_while(|line| *line != "----");
        let commands: Vec<&str> = lines.collect();
        if commands.iter().all(|line| line.starts_with('#')) {
            return commands.join("\n");
        }
        let mut told = Vec::new();
        for command in commands.iter().filter(|line| !line.starts_with('#')) {
            told.extend(stage.run(command));
        }
        let state = stage.describe_all();
        let outcome: Vec<String> = told.into_iter().chain(state).collect();
        format!("{}\n----\n{}", commands.join("\n"), outcome.join("\n"))
    });
    let mut played = paragraphs.collect::<Vec<_>>().join("\n\n");
    played.push('\n');
    played
}
