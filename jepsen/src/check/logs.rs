//! What nodes wrote, and how their processes ended: no panic, no error that nothing explains, no
//! exit that nobody asked for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use super::{
    state::SECOND,
    verdict::{Anomaly, Verdict},
    window,
};
use crate::{
    nemesis::Trouble,
    test::run::{Exit, Run},
};

/// Wherever one of these stands, a program ended that should not have.
const CRASHES: [&str; 5] = [
    "panicked at",
    "fatal runtime error",
    "has overflowed its stack",
    "memory allocation of",
    "double free",
];

/// What touches files: a node that cannot trust its disk says so and ends.
const OF_DISKS: &[Trouble] = &[
    Trouble::Power,
    Trouble::LyingDisk,
    Trouble::DiskError,
    Trouble::DiskFull,
    Trouble::SlowDisk,
    Trouble::Corrupt,
    Trouble::DataLoss,
];
/// What takes data away for good: the node must be replaced.
const OF_DATA: &[Trouble] = &[Trouble::LyingDisk, Trouble::Corrupt, Trouble::DataLoss];

/// A line of level `ERROR` that these faults explain.
struct Allowed {
    /// How its target begins.
    target: &'static str,
    /// What its message has.
    has: &'static str,
    by: &'static [Trouble],
    /// It is told of the node that was hit, by another one.
    by_others: bool,
}

const ALLOWED: &[Allowed] = &[
    Allowed {
        target: "synckairos_daemon::node",
        has: "ending at once",
        by: OF_DISKS,
        by_others: false,
    },
    Allowed {
        target: "synckairos_daemon::disk",
        has: "cannot tell how full",
        by: OF_DISKS,
        by_others: false,
    },
    Allowed {
        target: "synckairos_daemon::backup",
        has: "backup failed",
        by: OF_DISKS,
        by_others: false,
    },
    // It hands on what the store says.
    Allowed { target: "openraft", has: "", by: OF_DISKS, by_others: false },
    // A change of members that was under way when the leader was lost.
    Allowed {
        target: concat!("openraft", "::raft::api::management"),
        has: "",
        by: &[Trouble::Membership],
        by_others: false,
    },
    // The leader knows what a node had acknowledged.
    Allowed {
        target: "synckairos_daemon::raft::network",
        has: "lost log entries",
        by: OF_DATA,
        by_others: true,
    },
];

/// Codes with which a process may end by itself, of sysexits.h, and because of what.
const CODES: &[(i32, &[Trouble])] = &[(65, OF_DATA), (74, OF_DISKS), (78, &[Trouble::Membership])];

/// How long after its end a fault may still end a process.
const MARGIN_NS: u64 = 10 * SECOND;
/// Signals that a program sends itself, or gets for what it did: ILL, ABRT, BUS, FPE, SEGV, SYS.
const CRASH_SIGNALS: [i32; 6] = [4, 6, 7, 8, 11, 31];
const KILL: i32 = 9;
/// A panic that nobody catches.
const CODE_PANIC: i32 = 101;

pub fn check(run: &Run) -> Verdict {
    let mut anomalies = Vec::new();
    let (mut lines, mut unread) = (0, Vec::new());
    for (node, path) in &run.logs {
        match Scanned::of(run, node, path) {
            Ok(scanned) => {
                lines += scanned.lines;
                anomalies.extend(scanned.anomalies(node));
            }
            Err(error) => unread.push(format!("{node}: {error}")),
        }
    }
    let exits = &run.ending.exits;
    anomalies.extend(exits.iter().filter_map(|exit| {
        let what = wrong_exit(run, exit)?;
        Some(Anomaly::new(what).node(&exit.node).time(exit.time))
    }));
    let by_themselves = exits.iter().filter(|exit| exit.because.is_empty()).count();
    let verdict = Verdict::of("logs", anomalies)
        .with("logs", run.logs.len())
        .with("lines", lines)
        .with("exits", exits.len())
        .with("exits_by_themselves", by_themselves);
    if !unread.is_empty() {
        return verdict.unknown(format!("logs cannot be read: {}", unread.join(", ")));
    }
    if run.logs.is_empty() {
        return verdict.unknown("there is no log");
    }
    verdict
}

/// What is wrong in one log.
#[derive(Default)]
struct Scanned {
    lines: u64,
    /// The first line of its kind, and how many there are.
    complaints: BTreeMap<String, (String, u64)>,
}

impl Scanned {
    fn of(run: &Run, node: &str, path: &Path) -> io::Result<Self> {
        let mut scanned = Self::default();
        let mut reader = BufReader::new(File::open(path)?);
        let mut bytes = Vec::new();
        let mut stopping = false;
        // A node that lost its power leaves half a line, and bytes that are no text.
        while reader.read_until(b'\n', &mut bytes)? != 0 {
            let text = String::from_utf8_lossy(&bytes);
            let line = text.trim_end();
            scanned.lines += 1;
            let level = Line::of(line);
            if let Some(Line { target: "synckairos_daemon::node", message, .. }) = &level {
                stopping = match message.split(' ').next() {
                    Some("stopping") => true,
                    Some("started") => false,
                    Some(_) | None => stopping,
                };
            }
            if CRASHES.iter().any(|crash| line.contains(crash)) {
                scanned.complain(String::from("a crash"), line);
            } else if let Some(error) = level.filter(|line| line.level == "ERROR") {
                // What is told to an engine that has stopped.
                let late = stopping && error.target.starts_with("openraft");
                if !late && !is_allowed(run, node, &error) {
                    scanned.complain(error.kind(), line);
                }
            }
            bytes.clear();
        }
        Ok(scanned)
    }

    fn complain(&mut self, kind: String, line: &str) {
        self.complaints.entry(kind).or_insert_with(|| (line.to_owned(), 0)).1 += 1;
    }

    fn anomalies(self, node: &str) -> Vec<Anomaly> {
        let anomaly = |(line, count): (String, u64)| {
            let more = if count == 1 { String::new() } else { format!(" ({count} times)") };
            Anomaly::new(format!("its log says{more}: {line}")).node(node)
        };
        self.complaints.into_values().map(anomaly).collect()
    }
}

/// A line as the nodes write it: `2026-01-31T08:00:00.000000Z ERROR some::target: words key=value`.
struct Line<'a> {
    level: &'a str,
    target: &'a str,
    message: &'a str,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (time, rest) = line.split_once(' ')?;
        let is_time = time.ends_with('Z') && time.contains('T');
        let (level, rest) = rest.trim_start().split_once(' ').filter(|_| is_time)?;
        let (target, message) = rest.split_once(": ")?;
        Some(Self { level, target, message })
    }

    /// The same for lines that say the same with other figures.
    fn kind(&self) -> String {
        let words = self.message.split(|c: char| c == '=' || c.is_ascii_digit()).next();
        format!("{} {}", self.target, words.unwrap_or_default())
    }
}

fn is_allowed(run: &Run, node: &str, error: &Line<'_>) -> bool {
    ALLOWED.iter().any(|allowed| {
        error.target.starts_with(allowed.target)
            && error.message.contains(allowed.has)
            && window::installed(run).any(|fault| {
                allowed.by.contains(&fault.planned.trouble)
                    && (allowed.by_others || fault.nodes.iter().any(|name| name == node))
            })
    })
}

/// What is wrong with how a process ended.
fn wrong_exit(run: &Run, exit: &Exit) -> Option<String> {
    let Exit { code, signal, because, allowed, .. } = exit;
    let how = match (code, signal) {
        (Some(code), _) => format!("with code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => String::from("nobody knows how"),
    };
    let crashed =
        *code == Some(CODE_PANIC) || signal.is_some_and(|signal| CRASH_SIGNALS.contains(&signal));
    if crashed {
        return Some(format!("the process crashed: it ended {how}"));
    }
    if because.is_empty() {
        let explained = code.is_some_and(|code| may_end(run, exit, code));
        return (!explained)
            .then(|| format!("the process ended {how}, and nobody had asked it to"));
    }
    if because == "teardown" && *signal == Some(KILL) {
        return Some(String::from("the process did not stop when it was asked to, and was killed"));
    }
    let as_asked = *signal == Some(KILL) || code.is_some_and(|code| allowed.contains(&code));
    (!as_asked).then(|| format!("asked to end ({because}), the process ended {how}"))
}

/// Was there a fault on the node that a process may end of with this code?
fn may_end(run: &Run, exit: &Exit, code: i32) -> bool {
    let by = CODES.iter().filter(|(known, _)| *known == code).flat_map(|(_, by)| *by);
    let mut by = by.copied();
    let faults: Vec<Trouble> = window::installed(run)
        .filter(|fault| {
            window::touches(fault, (exit.time, exit.time), MARGIN_NS)
                && fault.nodes.contains(&exit.node)
        })
        .map(|fault| fault.planned.trouble)
        .collect();
    by.any(|trouble| faults.contains(&trouble))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::check::{example::Example, verdict::Validity};

    const STARTED: &str =
        "2026-11-26T12:12:34.734019Z  INFO synckairos_daemon::node: started node=1\n";
    const STOPPING: &str = "2026-11-26T12:12:35.734019Z  INFO synckairos_daemon::node: stopping\n";
    const WARNS: &str =
        "2026-11-26T12:12:35.000000Z  WARN synckairos_daemon::raft::link: ERROR: no\n";
    const DISK: &str = "2026-11-26T12:12:36.000000Z ERROR synckairos_daemon::node: ending at once \
                        error=the store failed\n";
    const ENGINE: &str = concat!(
        "2026-11-26T12:12:36.000000Z ERROR openraft",
        "::raft::raft_inner: failed to send RaftMsg to RaftCore: 7\n"
    );

    fn judge(log: &[&str], change: impl Fn(&mut Example)) -> Verdict {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("node.log");
        fs::write(&file, log.concat()).unwrap();
        let mut example = Example::new();
        change(&mut example);
        let mut run = example.run();
        run.logs.push((String::from("n2"), file));
        check(&run)
    }

    fn stopped(example: &mut Example) {
        let exit = example.exit("n2", 9_000, "teardown");
        (exit.code, exit.signal) = (Some(0), None);
        exit.allowed = vec![0];
    }

    #[test]
    fn quiet_logs_and_deliberate_ends_are_accepted() {
        let verdict = judge(&[STARTED, WARNS, STOPPING, ENGINE, STARTED], |example| {
            example.exit("n1", 100, "kill");
            stopped(example);
        });
        assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
        assert_eq!((&verdict.facts["lines"], &verdict.facts["exits"]), (&5.into(), &2.into()));
    }

    #[test]
    fn what_a_fault_explains_is_accepted() {
        let verdict = judge(&[STARTED, DISK, ENGINE], |example| {
            example.fault(Trouble::DiskError, &["n2"], (1_000, 2_000));
            let exit = example.exit("n2", 2_500, "");
            (exit.code, exit.signal) = (Some(74), None);
        });
        assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
    }

    #[test]
    fn a_leader_may_tell_who_lost_data_where_somebody_did() {
        let told = "2026-11-26T12:12:36.000000Z ERROR synckairos_daemon::raft::network: a node has \
                    lost log entries that it had acknowledged node=1 index=7\n";
        let after = |trouble: Trouble| {
            judge(&[STARTED, told], |example| {
                example.fault(trouble, &["n1"], (1_000, 2_000));
            })
        };
        assert_eq!(after(Trouble::DataLoss).valid, Validity::Valid);
        assert_eq!(after(Trouble::LyingDisk).valid, Validity::Valid);
        assert_eq!(after(Trouble::Kill).valid, Validity::Invalid);
        assert_eq!(after(Trouble::DiskError).valid, Validity::Invalid);
    }

    #[test]
    fn panics_and_errors_are_found() {
        let panic = "thread 'tokio-runtime-worker' panicked at daemon/src/x.rs:1:1:\n";
        let once = |log: &[&str]| judge(log, |_| {}).anomalies.len();
        assert_eq!(once(&[STARTED, panic]), 1);
        assert_eq!(once(&[STARTED, DISK]), 1);
        assert_eq!(once(&[STARTED, ENGINE]), 1);
        // The same again is said once.
        let again = ENGINE.replace('7', "8");
        let verdict = judge(&[STARTED, STOPPING, STARTED, ENGINE, &again], |_| {});
        assert_eq!(verdict.anomalies.len(), 1);
        assert!(verdict.anomalies[0].what.contains("2 times"), "{:?}", verdict.anomalies);
        // Another node's disk explains nothing.
        let other = judge(&[STARTED, DISK], |example| {
            example.fault(Trouble::DiskError, &["n1"], (1_000, 2_000));
        });
        assert_eq!(other.valid, Validity::Invalid);
    }

    #[test]
    fn ends_that_nobody_asked_for_are_found() {
        type Ends = fn(&mut Example);
        let cases: [(&str, Ends); 7] = [
            ("killed by nobody", |example| example.exit("n1", 100, "").signal = Some(9)),
            ("aborted", |example| example.exit("n1", 100, "kill").signal = Some(6)),
            ("a panic", |example| {
                let exit = example.exit("n1", 100, "stop");
                (exit.code, exit.signal, exit.allowed) = (Some(101), None, vec![101]);
            }),
            ("another code", |example| {
                let exit = example.exit("n1", 100, "stop");
                (exit.code, exit.signal, exit.allowed) = (Some(1), None, vec![0]);
            }),
            ("hung at the end", |example| example.exit("n1", 100, "teardown").signal = Some(9)),
            ("a full disk elsewhere", |example| {
                example.fault(Trouble::DiskFull, &["n2"], (0, 90));
                let exit = example.exit("n1", 100, "");
                (exit.code, exit.signal) = (Some(74), None);
            }),
            ("damage that only power explains", |example| {
                example.fault(Trouble::Power, &["n1"], (0, 90));
                let exit = example.exit("n1", 100, "");
                (exit.code, exit.signal) = (Some(65), None);
            }),
        ];
        for (case, ends) in cases {
            let verdict = judge(&[STARTED], ends);
            assert_eq!(verdict.anomalies.len(), 1, "{case}: {:?}", verdict.anomalies);
        }
    }

    #[test]
    fn a_log_that_is_missing_is_unknown() {
        assert_eq!(check(&Example::new().run()).valid, Validity::Unknown);
        let mut run = Example::new().run();
        run.logs.push((String::from("n1"), "/nowhere/node.log".into()));
        assert_eq!(check(&run).valid, Validity::Unknown);
    }
}
