//! The canonical export: a state as text, so that two of them can be compared byte for byte.
//!
//! JSON lines. The first says at which revision the state is, in which cluster time and format
//! level, and how much it holds. Then comes every session, all of it, ordered by id, then every
//! answer that is kept for retries, ordered by number. Keys are in the order of their definition.
//!
//! What belongs to a cluster and not to its state is left out: its id, its members and its tokens,
//! and updates that are kept for subscribers. Fields are those of this version of the program, so
//! exports are compared when one version made them.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;
use synckairos_protocol::{answered::Record, session::Session, time::Stamp};
use synckairos_raft_store::{Applied, backup::ManifestV1};

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Head {
    /// Index of the last log entry that is in it.
    revision: u64,
    cluster_time_ms: Stamp,
    level: u16,
    sessions: u64,
    answers: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Session(&'a Session),
    Answer {
        number: u64,
        key: &'a str,
        digest: String,
        at_ms: Stamp,
        /// As it is stored.
        answer: String,
    },
}

impl Head {
    pub(crate) fn of(manifest: &ManifestV1) -> Self {
        let ManifestV1 { revision, cluster_time, level, sessions, answers, .. } = *manifest;
        Self { revision, cluster_time_ms: cluster_time, level, sessions, answers }
    }
}

/// Writes an export, line by line.
pub(crate) struct Export<W> {
    output: W,
}

impl<W: Write> Export<W> {
    /// # Errors
    /// What the output says.
    pub(crate) fn begin(output: W, head: &Head) -> io::Result<Self> {
        let mut export = Self { output };
        export.line(head)?;
        Ok(export)
    }

    /// # Errors
    /// What the output says.
    pub(crate) fn session(&mut self, session: &Session) -> io::Result<()> {
        self.line(&Line::Session(session))
    }

    /// # Errors
    /// What the output says.
    pub(crate) fn answer(&mut self, number: u64, record: &Record) -> io::Result<()> {
        let Record { key, at, answer } = record;
        let (digest, answer) = (hex(&key.digest), hex(answer));
        self.line(&Line::Answer { number, key: &key.key, digest, at_ms: *at, answer })
    }

    /// # Errors
    /// What the output says.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, line)?;
        self.output.write_all(b"\n")
    }
}

/// The state of a node in which nothing is applied meanwhile.
///
/// # Errors
/// What the output says.
pub(crate) fn write_applied(applied: &Applied, output: impl Write) -> io::Result<()> {
    applied.read(|machine| {
        let answered = machine.answered();
        let range = answered.range();
        let head = Head {
            revision: applied.applied_index().unwrap_or(0),
            cluster_time_ms: machine.now(),
            level: machine.level(),
            sessions: machine.sessions().len() as u64,
            answers: range.end - range.start,
        };
        let mut export = Export::begin(output, &head)?;
        for session in machine.sessions() {
            export.session(session)?;
        }
        for number in range {
            if let Some(record) = answered.record(number) {
                export.answer(number, record)?;
            }
        }
        export.finish()
    })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::{
        command::{Command, CommandBatch, RequestKey, Stamped},
        ids::{ParticipantId, SessionId},
        machine::Machine,
        session::{NewParticipant, NewSession, SyncMode},
        time::Millis,
    };

    use super::*;

    fn session() -> Session {
        let participant = NewParticipant {
            id: ParticipantId::from_bits(7),
            index: 0,
            bank: Millis::new(60_000),
            group: None,
        };
        let new = NewSession {
            id: SessionId::from_bits(5),
            mode: SyncMode::PerParticipant,
            participants: vec![participant],
            groups: Vec::new(),
            first: None,
            total_time: Millis::new(60_000),
            time_per_cycle: None,
            increment: Millis::ZERO,
            max_time: None,
            on_timeout: None,
            auto_advance: None,
            warnings: vec![Millis::new(10_000)],
            metadata: Some(String::from(r#"{"table":4}"#)),
        };
        let stamp = Stamp::from_unix_millis(1_769_846_400_000);
        let command = Command::Create(Box::new(new));
        let mut machine = Machine::default();
        machine.apply(&CommandBatch { commands: vec![Stamped { stamp, command }] });
        machine.sessions().map(|session| (**session).clone()).next().unwrap()
    }

    #[test]
    fn the_form_is_what_it_was() {
        let at = Stamp::from_unix_millis(1_769_846_400_000);
        let head = Head { revision: 12, cluster_time_ms: at, level: 2, sessions: 1, answers: 1 };
        let mut text = Vec::new();
        let mut export = Export::begin(&mut text, &head).unwrap();
        export.session(&session()).unwrap();
        let key = RequestKey { key: String::from("a \"key\""), digest: [171; 32] };
        export.answer(9, &Record { key, at, answer: vec![0, 255] }).unwrap();
        export.finish().unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [head, session, answer] = lines[..] else { panic!("{text}") };
        assert_eq!(
            head,
            r#"{"revision":12,"cluster_time_ms":1769846400000,"level":2,"sessions":1,"answers":1}"#
        );
        let expected = [
            r#"{"session":{"id":"00000000-0000-0000-0000-000000000005","mode":"PerParticipant","#,
            r#""version":1,"commanded_version":1,"participants":["#,
            r#"{"id":"00000000-0000-0000-0000-000000000007","index":0,"group":null,"bank":60000,"#,
            r#""used":0,"cycles":0,"expired_at":null}],"groups":[],"phase":"Pending","first":0,"#,
            r#""total_time":60000,"time_per_cycle":null,"increment":0,"max_time":null,"#,
            r#""on_timeout":null,"auto_advance":null,"warnings":[10000],"warned":null,"#,
            r#""elapsed":0,"cycle_elapsed":0,"expired_at":null,"metadata":"{\"table\":4}","#,
            r#""created_at":1769846400000,"updated_at":1769846400000,"started_at":null,"#,
            r#""completed_at":null,"on_outage":"charge"}}"#,
        ];
        assert_eq!(session, expected.concat());
        let digest = "ab".repeat(32);
        let expected = [
            r#"{"answer":{"number":9,"key":"a \"key\"","digest":""#,
            &digest,
            r#"","at_ms":1769846400000,"answer":"00ff"}}"#,
        ];
        assert_eq!(answer, expected.concat());
    }
}
