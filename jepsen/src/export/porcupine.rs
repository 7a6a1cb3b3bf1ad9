//! `porcupine.jsonl`: the operations on each session as Porcupine's events, with what is fixed about
//! the session, for the program in `jepsen/porcupine`.
//!
//! They are the operations that our own checker judges, after batches and repeats were taken apart
//! and after what subscribers told of unknown outcomes. So Porcupine is a second opinion on the
//! search and on the model, and not on that.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    check::linear::{
        judged,
        model::{Action, Call, Seen, Spec},
        search::{Entry, Task},
    },
    test::run::Run,
};

#[derive(Serialize)]
#[serde(tag = "event")]
enum Line<'a> {
    /// Before the events of the session.
    Session {
        session: &'a str,
        seats: usize,
        in_order: bool,
        first: Option<u16>,
        skips: bool,
        falls_due: bool,
        lives_once: bool,
        told: Vec<u64>,
        version_max: u64,
    },
    Start {
        session: &'a str,
        time: u64,
        client_id: u64,
        op_id: u64,
        /// Of the invocation in `history.jsonl`; none of what the clock did.
        index: Option<u64>,
        call: Wire,
    },
    Finish {
        session: &'a str,
        time: u64,
        client_id: u64,
        op_id: u64,
        /// It may have taken effect, or not.
        open: bool,
        seen: Option<State>,
    },
}

/// What is asked for; of a refusal also what was told.
#[derive(Default, Serialize)]
struct Wire {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u16>,
    /// The command that was refused, or that only subscribers told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<u64>,
}

#[derive(Serialize)]
struct State {
    version: u64,
    status: &'static str,
    active: Option<u16>,
}

/// Writes one object a line, session after session.
///
/// # Errors
/// What the writer fails of.
pub fn write(run: &Run, out: &mut impl Write) -> io::Result<()> {
    for (session, task) in judged(run) {
        let Task { spec, entries } = &task;
        line(out, &of_session(session, spec))?;
        let mut events: Vec<(u64, bool, Line<'_>)> = Vec::new();
        for (op_id, entry) in (0..).zip(entries) {
            let [start, finish] = of_entry(session, op_id, entry);
            let until_ns = entry.until_ns.unwrap_or(u64::MAX);
            events.push((entry.from_ns, false, start));
            events.push((until_ns, true, finish));
        }
        // Where two happen at once they overlap.
        events.sort_by_key(|(time, is_end, _)| (*time, *is_end));
        for (_, _, event) in &events {
            line(out, event)?;
        }
    }
    Ok(())
}

fn line(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}

fn of_session<'a>(session: &'a str, spec: &Spec) -> Line<'a> {
    Line::Session {
        session,
        seats: spec.seats.len(),
        in_order: spec.in_order,
        first: spec.first,
        skips: spec.skips,
        falls_due: spec.falls_due,
        lives_once: spec.lives_once,
        told: spec.told.iter().copied().collect(),
        version_max: spec.version_max,
    }
}

/// Every operation is a client of its own: Porcupine shows clients as rows and asks no more of them.
fn of_entry<'a>(session: &'a str, op_id: u64, entry: &Entry) -> [Line<'a>; 2] {
    let Call { action, expected, seen } = &entry.call;
    let state = |seen: Seen| State {
        version: seen.version,
        status: seen.status.as_str(),
        active: seen.active,
    };
    let start = Line::Start {
        session,
        time: entry.from_ns,
        client_id: op_id,
        op_id,
        index: entry.ops.first().copied(),
        call: Wire { expected: *expected, ..of_action(action) },
    };
    let finish = Line::Finish {
        session,
        time: entry.until_ns.unwrap_or(u64::MAX),
        client_id: op_id,
        op_id,
        open: entry.until_ns.is_none(),
        seen: seen.map(state),
    };
    [start, finish]
}

fn of_action(action: &Action) -> Wire {
    let plain = |action| Wire { action, ..Wire::default() };
    match action {
        Action::Create => plain("create"),
        Action::Start => plain("start"),
        Action::Switch { current, next } => {
            Wire { current: *current, next: *next, ..plain("switch") }
        }
        Action::Pause => plain("pause"),
        Action::Resume => plain("resume"),
        Action::Complete => plain("complete"),
        Action::Delete => plain("delete"),
        Action::Told(f) => Wire { command: Some(f.as_str()), ..plain("told") },
        Action::Gone => plain("gone"),
        Action::Own => plain("own"),
        Action::Read => plain("read"),
        Action::Missing => plain("missing"),
        Action::Exists => plain("exists"),
        Action::Refused { f, status } => {
            Wire { command: Some(f.as_str()), status: Some(status.as_str()), ..plain("refused") }
        }
        Action::Conflict { wanted, actual } => {
            Wire { wanted: Some(*wanted), actual: Some(*actual), ..plain("conflict") }
        }
        Action::NotCurrent { wanted, actual } => {
            Wire { current: *wanted, next: *actual, ..plain("not_current") }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{check::example::Example, history::op::F};

    #[test]
    fn every_operation_starts_and_finishes_in_the_order_of_time() {
        let mut example = Example::new();
        example.create("s", 100);
        example.write(F::Start, "s", 200);
        example.open(F::Switch, "s", (300, 340));
        example.op((F::Read, Some("t")), Value::Null, (50, 54), Err("SESSION_NOT_FOUND"));
        example.last_event(1).status = Some(404);
        let mut out = Vec::new();
        write(&example.run(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let brief: Vec<String> = lines
            .iter()
            .map(|line| {
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let action = word(&line["call"]["action"]);
                format!("{} {} {action}", word(&line["event"]), word(&line["session"]))
            })
            .collect();
        let expected = [
            "Session s ",
            "Start s create",
            "Finish s ",
            "Start s start",
            "Finish s ",
            "Start s switch",
            "Finish s ",
            "Session t ",
            "Start t missing",
            "Finish t ",
        ];
        assert_eq!(brief, expected);
        assert_eq!(lines[4]["seen"]["version"], 2);
        assert_eq!((&lines[6]["open"], &lines[4]["open"]), (&true.into(), &false.into()));
        assert_eq!(lines[5]["index"], 6);
    }
}
