//! `history.edn`: the history as Jepsen writes it, so that Knossos can judge it.
//!
//! A session is a register that holds its version, 0 where it is not there, and its value is an
//! independent tuple `[session value]`. A command that expects a version, or whose answer shows
//! one, is a `:cas` from one version to the next; a create is a `:write` of 1, a delete of 0. What
//! is none of these keeps its own `:f`: leave it out before checking, with
//! `(filter (comp #{:read :write :cas} :f))`, and take `(cas-register 0)`.
//!
//! A version that nothing of this made (by the clock, by a batch, by a request that was sent again
//! under its key, by one of unknown outcome) is made by a `:cas` that is never answered, of a
//! process that is nobody's. So Knossos may refute what our own checker accepts only where both
//! would.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use serde_json::Value;

use crate::history::op::{Event, F, Kind, Process};

/// Writes one map a line.
///
/// # Errors
/// What the writer fails of.
pub fn write(events: &[Event], out: &mut impl Write) -> io::Result<()> {
    let rendering = Rendering::of(events);
    let mut written = Written { out, index: 0 };
    let mut begun: BTreeSet<&str> = BTreeSet::new();
    for (place, event) in events.iter().enumerate() {
        if let Some(session) = event.key.as_deref()
            && begun.insert(session)
        {
            rendering.unexplained(session, event.time, &mut written)?;
        }
        let forms = rendering.forms(event, rendering.calls.get(&place));
        written.line(event, &forms)?;
    }
    Ok(())
}

/// The parts of a line that depend on more than its event.
struct Forms {
    kind: Kind,
    f: String,
    value: String,
}

struct Written<'a, W: Write> {
    out: &'a mut W,
    index: u64,
}

impl<W: Write> Written<'_, W> {
    fn line(&mut self, event: &Event, forms: &Forms) -> io::Result<()> {
        let process = match event.process {
            Process::Client(id) => id.to_string(),
            Process::Nemesis => String::from(":nemesis"),
        };
        self.begin(event.time, &process, forms)?;
        write!(self.out, ", :line {}", event.index)?;
        if let Some(node) = &event.node {
            write!(self.out, ", :node {}", text(node))?;
        }
        if let Some(key) = &event.idem {
            write!(self.out, ", :idem {}", text(key))?;
        }
        if let Some(status) = event.status {
            write!(self.out, ", :status {status}")?;
        }
        if let Some(error) = &event.error {
            let details = edn(&error.details);
            write!(self.out, ", :error [{} {details}]", keyword(&error.kind))?;
        }
        writeln!(self.out, "}}")
    }

    fn begin(&mut self, time: u64, process: &str, forms: &Forms) -> io::Result<()> {
        let kind = match forms.kind {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        };
        let (index, f, value) = (self.index, &forms.f, &forms.value);
        self.index += 1;
        write!(
            self.out,
            "{{:index {index}, :time {time}, :process {process}, :type :{kind}, :f {f}, :value {value}"
        )
    }
}

/// What is known of a whole operation at each of its events.
#[derive(Clone)]
struct Whole {
    f: F,
    session: String,
    expected: Option<u64>,
    /// The version that the answer shows.
    shown: Option<u64>,
    is_read_of_nothing: bool,
    /// It fits a register that holds a version.
    fits: bool,
}

struct Rendering {
    /// By the places of both events.
    calls: BTreeMap<usize, Whole>,
    /// Versions of each session that no operation made that fits.
    unexplained: BTreeMap<String, Vec<u64>>,
    /// The first process that is nobody's.
    nobody: u64,
}

impl Rendering {
    fn of(events: &[Event]) -> Self {
        let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
        for event in events.iter().filter(|event| event.kind == Kind::Invoke) {
            if let Some(key) = event.idem.as_deref() {
                *sent.entry(key).or_default() += 1;
            }
        }
        let mut open: BTreeMap<Process, usize> = BTreeMap::new();
        let mut calls: BTreeMap<usize, Whole> = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            if event.kind == Kind::Invoke {
                open.insert(event.process, place);
                let again = event.idem.as_deref().is_some_and(|key| sent.get(key) != Some(&1));
                if let Some(whole) = begun(event, again) {
                    calls.insert(place, whole);
                }
            } else if let Some(begun) = open.remove(&event.process)
                && let Some(whole) = calls.get_mut(&begun)
            {
                whole.end(event);
                let whole = whole.clone();
                calls.insert(place, whole);
            }
        }
        let clients = events.iter().filter_map(|event| match event.process {
            Process::Client(id) => Some(u64::from(id)),
            Process::Nemesis => None,
        });
        let nobody = clients.max().map_or(0, |last| last + 1);
        Self { unexplained: unexplained(events, &calls), calls, nobody }
    }

    /// Operations that made the versions that nothing else explains, each open for ever.
    fn unexplained<W: Write>(
        &self,
        session: &str,
        time: u64,
        written: &mut Written<'_, W>,
    ) -> io::Result<()> {
        // Each needs a process of its own, and no session may use another one's.
        let before =
            self.unexplained.range::<String, _>(..session.to_owned()).map(|(_, of)| of.len());
        let first = self.nobody + u64::try_from(before.sum::<usize>()).unwrap_or(u64::MAX);
        let versions = self.unexplained.get(session).into_iter().flatten();
        for (process, version) in (first..).zip(versions) {
            let step = format!("[{} {version}]", version.saturating_sub(1));
            let value = tuple(session, &step);
            for kind in [Kind::Invoke, Kind::Info] {
                let forms = Forms { kind, f: String::from(":cas"), value: value.clone() };
                written.begin(time, &process.to_string(), &forms)?;
                writeln!(written.out, "}}")?;
            }
        }
        Ok(())
    }

    fn forms(&self, event: &Event, whole: Option<&Whole>) -> Forms {
        let plain = || Forms {
            kind: if event.process == Process::Nemesis { Kind::Info } else { event.kind },
            f: keyword(&event.f),
            value: match &event.key {
                Some(session) => tuple(session, &edn(&event.value)),
                None => edn(&event.value),
            },
        };
        let Some(whole) = whole.filter(|whole| whole.fits) else { return plain() };
        let number = |version: Option<u64>| {
            version.map_or_else(|| String::from("nil"), |version| version.to_string())
        };
        let (f, value) = match whole.f {
            F::Read => {
                let is_answer = event.kind != Kind::Invoke;
                (":read", number(whole.shown.filter(|_| is_answer)))
            }
            F::Create => (":write", String::from("1")),
            F::Delete => (":write", String::from("0")),
            F::Start | F::Switch | F::Pause | F::Resume | F::Complete => {
                let from = whole.expected.or(whole.shown.map(|version| version.saturating_sub(1)));
                let to = whole.shown.or(from.map(|version| version + 1));
                (":cas", format!("[{} {}]", number(from), number(to)))
            }
            F::StaleRead | F::List | F::Batch | F::Time => return plain(),
        };
        let kind = if whole.is_read_of_nothing && event.kind == Kind::Fail {
            Kind::Ok
        } else {
            event.kind
        };
        Forms { kind, f: f.to_owned(), value: tuple(&whole.session, &value) }
    }
}

fn begun(event: &Event, again: bool) -> Option<Whole> {
    let f = F::parse(&event.f)?;
    let is_of_register = match f {
        F::Create
        | F::Start
        | F::Switch
        | F::Pause
        | F::Resume
        | F::Complete
        | F::Delete
        | F::Read => true,
        F::StaleRead | F::List | F::Batch | F::Time => false,
    };
    Some(Whole {
        f,
        session: event.key.clone().filter(|_| event.process != Process::Nemesis)?,
        expected: event.value["expected_version"].as_u64(),
        shown: None,
        is_read_of_nothing: false,
        fits: is_of_register && !again,
    })
}

impl Whole {
    fn end(&mut self, event: &Event) {
        self.shown = event.value["version"].as_u64().filter(|_| event.kind == Kind::Ok);
        if self.f == F::Read && event.kind == Kind::Fail && event.status == Some(404) {
            (self.is_read_of_nothing, self.shown) = (true, Some(0));
        }
        // Nobody knows from which version to which it went, if it did.
        let is_blind = self.expected.is_none() && self.shown.is_none();
        let steps = self.f.writes() && !matches!(self.f, F::Create | F::Delete);
        if event.kind == Kind::Info && steps && is_blind {
            self.fits = false;
        }
    }
}

/// Versions that somebody saw, and that no operation made that fits and is known to have.
fn unexplained(events: &[Event], calls: &BTreeMap<usize, Whole>) -> BTreeMap<String, Vec<u64>> {
    let mut made: BTreeSet<(&str, u64)> = BTreeSet::new();
    let mut highest: BTreeMap<String, u64> = BTreeMap::new();
    let mut saw = |session: &str, version: Option<u64>| {
        let highest = highest.entry(session.to_owned()).or_default();
        *highest = version.unwrap_or(0).max(*highest);
    };
    for (place, event) in events.iter().enumerate() {
        if event.kind == Kind::Invoke {
            continue;
        }
        for result in event.value.as_array().into_iter().flatten() {
            if let Some(session) = result["session_id"].as_str() {
                saw(session, result["version"].as_u64());
            }
        }
        let Some(whole) = calls.get(&place) else { continue };
        saw(&whole.session, whole.shown);
        let moved = event.error.as_ref().and_then(|error| error.details["actual_version"].as_u64());
        saw(&whole.session, moved);
        if whole.fits && whole.f.writes() && event.kind == Kind::Ok {
            made.extend(whole.shown.map(|version| (whole.session.as_str(), version)));
        }
    }
    let missing = |(session, highest): (String, u64)| {
        let is_missing = |version: &u64| !made.contains(&(session.as_str(), *version));
        let versions = (1..=highest).filter(is_missing).collect();
        (session, versions)
    };
    highest.into_iter().map(missing).collect()
}

fn tuple(session: &str, value: &str) -> String {
    format!("[{} {value}]", text(session))
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A word of ours as a keyword.
fn keyword(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let dashed = word.replace('_', "-").to_ascii_lowercase();
    let is_plain = dashed.starts_with(|letter: char| letter.is_ascii_lowercase());
    if is_plain && dashed.chars().all(plain) { format!(":{dashed}") } else { text(word) }
}

/// A JSON value as EDN; keys of objects are keywords where they can be.
fn edn(value: &Value) -> String {
    match value {
        Value::Null => String::from("nil"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(edn).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{} {}", keyword(key), edn(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::example::Example;

    fn lines(example: &Example) -> Vec<String> {
        let mut out = Vec::new();
        write(&example.run().events, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn has(lines: &[String], parts: &[&str]) -> bool {
        lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
    }

    #[test]
    fn sessions_are_registers_that_hold_their_version() {
        let mut example = Example::new();
        example.create("s", 100);
        example.write(F::Start, "s", 200);
        let expecting = json!({"expected_version": 2});
        example.op(
            (F::Switch, Some("s")),
            expecting.clone(),
            (300, 310),
            Ok(json!({"version": 3})),
        );
        example.op((F::Switch, Some("s")), expecting, (301, 309), Err("CONCURRENT_MODIFICATION"));
        example.op((F::Read, Some("s")), Value::Null, (400, 404), Ok(json!({"version": 3})));
        example.write(F::Delete, "s", 500);
        example.op((F::Read, Some("s")), Value::Null, (600, 604), Err("SESSION_NOT_FOUND"));
        example.last_event(1).status = Some(404);
        let lines = lines(&example);
        assert_eq!(lines.len(), 14);
        for (index, line) in lines.iter().enumerate() {
            assert!(line.starts_with(&format!("{{:index {index}, :time ")), "{line}");
            assert!(line.ends_with('}'), "{line}");
        }
        assert!(has(&lines, &[":type :invoke, :f :write, :value [\"s\" 1]"]));
        assert!(has(&lines, &[":type :invoke, :f :cas, :value [\"s\" [1 2]]"]));
        assert!(has(&lines, &[":type :ok, :f :cas, :value [\"s\" [2 3]]"]));
        assert!(has(&lines, &[":type :fail, :f :cas", ":error [:concurrent-modification nil]"]));
        assert!(has(&lines, &[":type :invoke, :f :read, :value [\"s\" nil]"]));
        assert!(has(&lines, &[":type :ok, :f :read, :value [\"s\" 3]"]));
        assert!(has(&lines, &[":type :ok, :f :write, :value [\"s\" 0]"]));
        assert!(has(&lines, &[":type :ok, :f :read, :value [\"s\" 0]"]));
    }

    #[test]
    fn what_made_an_unexplained_version_is_open() {
        let mut example = Example::new();
        example.create("s", 100);
        example.write(F::Start, "s", 200);
        example.open(F::Switch, "s", (300, 340));
        let body = json!({"commands": [{"action": "switch", "session_id": "s"}]});
        let results = json!([{"session_id": "s", "version": 4}]);
        example.op((F::Batch, None), body, (400, 404), Ok(results));
        let lines = lines(&example);
        assert_eq!(lines.len(), 12);
        for step in ["[2 3]", "[3 4]"] {
            let value = format!(":f :cas, :value [\"s\" {step}]");
            assert!(has(&lines, &[":type :invoke", &value]), "{lines:#?}");
            assert!(has(&lines, &[":type :info", &value]), "{lines:#?}");
        }
        assert!(has(&lines, &[":type :info, :f :switch"]));
        assert!(has(
            &lines,
            &[":f :batch, :value {:commands [{:action \"switch\", :session-id \"s\"}]}"]
        ));
    }

    #[test]
    fn a_key_that_is_sent_again_is_no_operation_of_its_own() {
        let mut example = Example::new();
        example.create("s", 100);
        for at in [200, 300] {
            example.op((F::Start, Some("s")), Value::Null, (at, at + 4), Ok(json!({"version": 2})));
            for back in [1, 2] {
                example.last_event(back).idem = Some(String::from("k"));
            }
        }
        let lines = lines(&example);
        assert!(has(&lines, &[":type :info, :f :cas, :value [\"s\" [1 2]]"]));
        assert!(!has(&lines, &[":type :ok, :f :cas"]), "{lines:#?}");
    }
}
