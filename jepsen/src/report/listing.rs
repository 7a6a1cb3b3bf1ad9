//! The history as text, a line per event: `history.txt`.

use std::io::{self, Write};

use super::{numbers, words};
use crate::history::op::{Event, Kind, Process};

pub(super) fn write(events: &[Event], to: &mut impl Write) -> io::Result<()> {
    let header = ["index", "seconds", "process", "type", "f", "session", "node"];
    writeln!(to, "{} value", columns(&header.map(String::from)))?;
    for event in events {
        writeln!(to, "{}", line(event))?;
    }
    Ok(())
}

fn line(event: &Event) -> String {
    let process = match event.process {
        Process::Client(number) => number.to_string(),
        Process::Nemesis => String::from("nemesis"),
    };
    let micros = event.time / 1_000;
    let kind = match event.kind {
        Kind::Invoke => "invoke",
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    };
    let columns = columns(&[
        event.index.to_string(),
        format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
        process,
        kind.to_owned(),
        numbers::short(&event.f, 40),
        numbers::short(event.key.as_deref().unwrap_or("-"), 64),
        numbers::short(event.node.as_deref().unwrap_or("-"), 24),
    ]);
    let mut words: Vec<String> = Vec::new();
    words.extend(event.status.map(|status| status.to_string()));
    words.extend(event.error.as_ref().map(words::failure));
    words.push(words::value(&event.value));
    words.extend(event.idem.as_ref().map(|key| format!("key {}", numbers::short(key, 64))));
    words.retain(|word| !word.is_empty());
    format!("{columns} {}", words.join(" ")).trim_end().to_owned()
}

fn columns(columns: &[String; 7]) -> String {
    let [index, seconds, process, kind, f, session, node] = columns;
    format!("{index:>7} {seconds:>12} {process:>8} {kind:<6} {f:<11} {session:<36} {node:<6}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(more: &serde_json::Value) -> Event {
        let mut event = json!({
            "index": 12, "time": 1_234_567_890u64, "process": 3, "type": "invoke", "f": "switch",
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn an_event_is_a_line() {
        let events = [
            event(
                &json!({"key": "s-7", "node": "n1", "idem": "k-1", "value": {"expected_version": 4}}),
            ),
            event(
                &json!({"type": "fail", "status": 409, "error": {"kind": "STALE", "effect": "none"}}),
            ),
            event(&json!({"process": "nemesis", "type": "info", "f": "a\nb", "value": "x\ny"})),
        ];
        let mut text = Vec::new();
        write(&events, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "index seconds process type f session node value");
        assert_eq!(lines[1].join(" "), "12 1.234567 3 invoke switch s-7 n1 at v4 key k-1");
        assert_eq!(lines[2].join(" "), "12 1.234567 3 fail switch - - 409 STALE");
        assert_eq!(lines[3].join(" "), "12 1.234567 nemesis info a b - - \"x\\ny\"");
        assert_eq!(lines.len(), 4);
    }
}
