//! Processes that die while they write. A child is this test binary, started again; it tells its
//! parent what was acknowledged, and the parent opens what the child left.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use openraft::{
    storage::{IOFlushed, RaftLogReader, RaftLogStorage},
    type_config::TypeConfigExt,
};

use super::{Node, commands, create, log_id};
use crate::{
    crash::DIE_AT,
    raft_types::{LogId, TypeConfig, Vote},
};

const DIRECTORY: &str = "SYNCKAIROS_TEST_DIRECTORY";
/// Before every line that is meant for the parent.
const MARK: &str = "acknowledged";
/// More rounds than any child lives for.
const ROUNDS: u64 = 10_000;

pub(super) fn spawn(test: &str, directory: &Path, die_at: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    as_child(&mut command, test, directory, die_at);
    command.spawn().unwrap()
}

/// Makes a command of this test binary one that runs a child's side.
pub(super) fn as_child(command: &mut Command, test: &str, directory: &Path, die_at: &str) {
    command
        .args([&format!("tests::crashes::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(DIE_AT, die_at)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
}

/// The child's side. Appends and votes, and every seventh round replaces its last entries as a
/// follower of a new leader does.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let mut node = Node::open(Path::new(&directory));
    let log = &mut node.opened.log;
    let mut output = std::io::stdout();
    let mut tell = |what: String| writeln!(output, "{MARK} {what}").unwrap();
    let (mut term, mut next) = (1, 0);
    for round in 0..ROUNDS {
        if round % 7 == 6 {
            term += 1;
            log.save_vote(&Vote::new(term, 1)).await.unwrap();
            tell(format!("vote {term}"));
            // From here on these entries may be gone.
            next -= 2;
            tell(format!("truncating {next}"));
            log.truncate_after(Some(log_id_before(next, term))).await.unwrap();
        }
        let mut flushed = Vec::new();
        for _ in 0..3 {
            let (sender, receiver) = TypeConfig::oneshot();
            let entry = commands(term, next, next, vec![create(next)]);
            log.append([entry], IOFlushed::signal(sender)).await.unwrap();
            flushed.push((next, receiver));
            next += 1;
        }
        for (index, written) in flushed {
            written.await.unwrap().unwrap();
            tell(format!("entry {term} {index}"));
        }
    }
}

/// The log id at `next - 1`: entries are only ever replaced by the term after theirs, and three
/// entries a round make sure that what stays is of the term before.
fn log_id_before(next: u64, term: u64) -> LogId {
    log_id(term - 1, next - 1)
}

/// What a parent knows of its child.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    vote: u64,
    entries: Vec<LogId>,
    pub(super) lines: usize,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        // The test harness writes its own words before the first.
        let Some((_, words)) = line.split_once(MARK) else { return };
        let words: Vec<&str> = words.split_whitespace().collect();
        let number = |position: usize| words[position].parse::<u64>().unwrap();
        self.lines += 1;
        match words[0] {
            "vote" => self.vote = number(1),
            "truncating" => self.entries.retain(|entry| entry.index < number(1)),
            "entry" => self.entries.push(log_id(number(1), number(2))),
            other => panic!("{other}"),
        }
    }
}

/// Listens until the child is gone, or kills it after so many lines.
pub(super) fn listen(child: Child, kill_after: usize) -> (Acknowledged, bool) {
    listen_with(child, |acknowledged| acknowledged.lines == kill_after)
}

/// Listens until the child is gone; kills it where `kill` says so.
pub(super) fn listen_with(
    mut child: Child,
    mut kill: impl FnMut(&Acknowledged) -> bool,
) -> (Acknowledged, bool) {
    let mut acknowledged = Acknowledged::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        acknowledged.hear(&line.unwrap());
        if kill(&acknowledged) {
            // What is still in the pipe was acknowledged too, so listening goes on.
            child.kill().unwrap();
        }
    }
    (acknowledged, child.wait().unwrap().success())
}

pub(super) async fn check(directory: &Path, acknowledged: &Acknowledged, case: &str) {
    // Opening checks that there is no hole.
    let mut node = Node::open(directory);
    let vote = node.opened.log.get_log_reader().await.read_vote().await.unwrap();
    let term = vote.map_or(0, |vote| vote.leader_id.term);
    assert!(acknowledged.vote <= term, "{case}: vote {term}, {acknowledged:?}");
    assert!(term <= acknowledged.vote.max(1) + 1, "{case}: vote {term}, {acknowledged:?}");
    let found = node.log_ids().await;
    for entry in &acknowledged.entries {
        assert!(found.contains(entry), "{case}: {entry} is lost");
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_wherever_the_writer_dies() {
    for point in ["before-write", "before-sync", "after-sync", "after-mark"] {
        for count in [1, 2, 5, 9, 10, 11, 12, 23, 40] {
            let directory = tempfile::tempdir().unwrap();
            let case = format!("{point}:{count}");
            let child = spawn("child_that_writes", directory.path(), &case);
            let (acknowledged, success) = listen(child, usize::MAX);
            assert!(!success, "{case}: the child did not die");
            check(directory.path(), &acknowledged, &case).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    for kill_after in [1, 2, 10, 57, 120, 333, 800] {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn("child_that_writes", directory.path(), "");
        let (acknowledged, success) = listen(child, kill_after);
        assert!(!success, "killed after {kill_after}: the child did not die");
        assert!(kill_after <= acknowledged.lines);
        check(directory.path(), &acknowledged, &format!("killed after {kill_after}")).await;
    }
}

/// The child's side of the test after it.
#[tokio::test(flavor = "multi_thread")]
async fn child_whose_disk_fails() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let mut node = Node::open(Path::new(&directory));
    let log = &mut node.opened.log;
    let mut outcomes = Vec::new();
    for index in 0..6 {
        let (sender, receiver) = TypeConfig::oneshot();
        let entry = commands(1, index, index, vec![create(index)]);
        log.append([entry], IOFlushed::signal(sender)).await.unwrap();
        outcomes.push(receiver.await.unwrap().map_err(|error| error.to_string()));
    }
    let failed = String::from("cannot write the log: injected failure");
    assert_eq!(outcomes[..3], [Ok(()), Ok(()), Ok(())]);
    // Nothing is accepted after the failure, though the disk would work again.
    assert_eq!(outcomes[3..], [Err(failed.clone()), Err(failed.clone()), Err(failed.clone())]);
    assert_eq!(log.save_vote(&Vote::new(9, 1)).await.unwrap_err().to_string(), failed);
    assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), None);
    assert_eq!(*node.opened.fatal.borrow(), Some(failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_after_a_failed_write() {
    for (point, written) in [("fail:4", 3), ("fail-mark:4", 4)] {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn("child_whose_disk_fails", directory.path(), point);
        assert!(listen(child, usize::MAX).1, "{point}");
        let mut node = Node::open(directory.path());
        let expected: Vec<_> = (0..written).map(|index| log_id(1, index)).collect();
        assert_eq!(node.log_ids().await, expected, "{point}");
    }
}
