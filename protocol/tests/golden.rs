//! Everything that is stored or sent between nodes, as bytes, for ever.
//!
//! A number that moves, a field that comes or goes, shows here. Released examples are frozen: set
//! `UPDATE_GOLDEN=1` only to append, or to begin a format with a new number.
#![allow(clippy::unwrap_used)]

mod examples;

use std::{fmt::Debug, fs, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use synckairos_protocol::{
    codec::{self, Kind},
    error,
    ids::SessionId,
};

const FORMAT: u16 = 1;

#[test]
fn commands_keep_their_bytes() {
    check_bytes("commands.hex", Kind::LogEntry, &examples::batches());
}

#[test]
fn intents_keep_their_bytes() {
    check_bytes("intents.hex", Kind::PeerRequest, &examples::intents());
}

#[test]
fn sessions_keep_their_bytes() {
    check_bytes("sessions.hex", Kind::SessionRow, &examples::old_sessions());
    check_bytes("sessions_2.hex", Kind::SessionRow, &examples::later_sessions());
}

#[test]
fn answers_keep_their_bytes() {
    check_bytes("answers.hex", Kind::PeerReply, &examples::old_answers());
    check_bytes("answers_2.hex", Kind::PeerReply, &examples::answers());
}

#[test]
fn rejects_keep_their_bytes() {
    check_bytes("rejects.hex", Kind::PeerReply, &examples::rejects());
}

#[test]
fn events_keep_their_bytes() {
    check_bytes("events.hex", Kind::PeerReply, &examples::events());
}

#[test]
fn envelopes_keep_their_numbers() {
    let mut table = String::new();
    for kind in examples::KINDS {
        let bytes = codec::encode(kind, FORMAT, &SessionId::from_bits(1)).unwrap();
        table += &format!("{kind:?} {} {}\n", kind as u8, hex(&bytes));
    }
    check_golden("envelopes.txt", &table);
}

#[test]
fn errors_keep_their_meaning() {
    let mut table = String::new();
    for kind in error::Kind::ALL {
        let meaning = kind.meaning();
        let (code, status) = (meaning.code, meaning.status);
        let (retryable, effect) = (meaning.retryable, meaning.effect);
        let effect = serde_json::to_value(effect).unwrap();
        let effect = effect.as_str().unwrap();
        let kind = kind.as_str();
        table += &format!("{kind} {code} {status} retryable={retryable} effect={effect}\n");
    }
    check_golden("error_codes.txt", &table);
}

#[test]
fn errors_are_known_by_their_words() {
    for kind in error::Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
    }
    let unknown = "NO_SUCH_KIND".parse::<error::Kind>().unwrap_err();
    assert_eq!(unknown.to_string(), "unknown error kind \"NO_SUCH_KIND\"");
}

#[test]
fn refusals_keep_their_words() {
    let mut table = String::new();
    for (name, reject) in examples::rejects() {
        let kind = error::Kind::from(&reject).as_str();
        table += &format!("{name}\n  {kind}: {reject}\n");
    }
    check_golden("refusals.txt", &table);
}

/// The examples have the bytes that the file holds, and the bytes in the file still read so.
fn check_bytes<T>(file: &str, kind: Kind, examples: &[(String, T)])
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let mut table = String::new();
    for (name, example) in examples {
        let bytes = codec::encode(kind, FORMAT, example).unwrap();
        let lines: Vec<String> = bytes.chunks(44).map(hex).collect();
        table += &format!("{name}\n  {}\n", lines.join("\n  "));
    }
    check_golden(file, &table);

    let kept = fs::read_to_string(path_of(file)).unwrap();
    let mut entries = kept.lines().peekable();
    for (name, example) in examples {
        assert_eq!(entries.next(), Some(name.as_str()), "{file}");
        let mut digits = String::new();
        while let Some(line) = entries.next_if(|line| line.starts_with("  ")) {
            digits += line.trim_start();
        }
        let read: T = codec::decode(kind, FORMAT, &unhex(&digits)).unwrap();
        assert_eq!(read, *example, "{file}: {name}");
    }
}

fn check_golden(file: &str, now: &str) {
    let path = path_of(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, now).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    for (line, (kept, now)) in (1..).zip(kept.lines().zip(now.lines())) {
        assert_eq!(kept, now, "golden/{file}:{line}: is this a change of the protocol?");
    }
    assert_eq!(kept, now, "golden/{file}: is this a change of the protocol?");
}

fn path_of(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}
