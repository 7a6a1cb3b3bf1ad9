//! How scheduled backups are named, which of them are kept, and when the next one is due. Only
//! text and arithmetic.
//!
//! `synckairos-<cluster id>-node<id>-<time, UTC>-r<revision>.backup`, and while it is written
//! `synckairos-<cluster id>-node<id>-<time, UTC>.part`. What is named in any other way was made by
//! somebody else, and is not touched.

use std::{cmp::Reverse, fmt};

use synckairos_protocol::time::Stamp;

use crate::pki::ClusterId;

const BEGIN: &str = "synckairos-";
const NODE: &str = "-node";
const END: &str = ".backup";
const PART_END: &str = ".part";
/// Of a UUID.
const CLUSTER_LETTERS: usize = 36;
/// Of `2026-01-31T08:00:00`.
const SECONDS_LETTERS: usize = 19;

/// Who made a backup. Nodes may share a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    pub(super) cluster: ClusterId,
    pub(super) node: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackupName {
    pub(super) maker: Maker,
    /// When it was begun, by its maker's wall clock, in seconds since the Unix epoch.
    pub(super) at_seconds: u64,
    pub(super) revision: u64,
}

impl BackupName {
    /// `None` for what [`BackupName`] would not write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (maker, rest) = read_maker(text)?;
        let (time, revision) = rest.strip_suffix(END)?.split_once("-r")?;
        let at_seconds = read_seconds(time)?;
        let name = Self { maker, at_seconds, revision: revision.parse().ok()? };
        // `r007` would be a second spelling of the same name.
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { maker, at_seconds, revision } = self;
        write!(formatter, "{maker}{}-r{revision}{END}", write_seconds(*at_seconds))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{BEGIN}{}{NODE}{}-", self.cluster, self.node)
    }
}

impl Maker {
    /// What a backup that was begun then is called while it is written.
    pub(super) fn part(self, at_seconds: u64) -> String {
        format!("{self}{}{PART_END}", write_seconds(at_seconds))
    }

    /// Is `text` such a name?
    pub(super) fn is_part(self, text: &str) -> bool {
        let at_seconds = read_maker(text)
            .and_then(|(_, rest)| rest.strip_suffix(PART_END))
            .and_then(read_seconds);
        at_seconds.is_some_and(|at_seconds| self.part(at_seconds) == text)
    }
}

fn read_maker(text: &str) -> Option<(Maker, &str)> {
    let (cluster, rest) = text.strip_prefix(BEGIN)?.split_at_checked(CLUSTER_LETTERS)?;
    let (node, rest) = rest.strip_prefix(NODE)?.split_once('-')?;
    Some((Maker { cluster: cluster.parse().ok()?, node: node.parse().ok()? }, rest))
}

/// `20260131T080000Z`.
fn write_seconds(at_seconds: u64) -> String {
    let iso = Stamp::from_unix_millis(at_seconds.saturating_mul(1_000)).to_iso();
    let seconds = iso.get(..SECONDS_LETTERS).unwrap_or_default();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

fn read_seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &str, from: usize, to: usize| text.get(from..to).map(str::to_owned);
    let date = [part(date, 0, 4)?, part(date, 4, 6)?, part(date, 6, date.len())?].join("-");
    let time = [part(time, 0, 2)?, part(time, 2, 4)?, part(time, 4, time.len())?].join(":");
    Some(Stamp::from_iso(&format!("{date}T{time}Z"))?.unix_millis() / 1_000)
}

/// When the next backup is due, in seconds since the Unix epoch: a span after the newest one,
/// however often the node was started since. One that is dated after `now` tells nothing.
pub(super) fn next_at(made: &[BackupName], now_seconds: u64, interval_seconds: u64) -> u64 {
    let times = made.iter().map(|name| name.at_seconds);
    let newest = times.filter(|at| *at <= now_seconds).max();
    newest.map_or(now_seconds, |newest| newest.saturating_add(interval_seconds))
}

/// Those that go when `keep` may stay: the oldest. What is dated after `now` was made before it
/// all the same, by a clock that was wrong, and goes first.
pub(super) fn surplus(mut made: Vec<BackupName>, now_seconds: u64, keep: usize) -> Vec<BackupName> {
    made.sort_by_key(|name| Reverse((name.at_seconds <= now_seconds, name.at_seconds)));
    made.split_off(keep.min(made.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const AT: u64 = 1_769_846_400;

    fn maker() -> Maker {
        Maker { cluster: CLUSTER.parse().unwrap(), node: 3 }
    }

    fn name(at_seconds: u64) -> BackupName {
        BackupName { maker: maker(), at_seconds, revision: at_seconds * 10 }
    }

    #[test]
    fn a_name_says_whose_when_and_what() {
        let written = BackupName { maker: maker(), at_seconds: AT, revision: 4_711 };
        let text = format!("synckairos-{CLUSTER}-node3-20260131T080000Z-r4711.backup");
        assert_eq!(written.to_string(), text);
        assert_eq!(BackupName::parse(&text), Some(written));
        let part = format!("synckairos-{CLUSTER}-node3-20260131T080000Z.part");
        assert_eq!(maker().part(AT), part);
        assert!(maker().is_part(&part) && !maker().is_part(&text));
        let other = Maker { node: 33, ..maker() };
        assert!(!other.is_part(&part) && other.is_part(&part.replace("node3", "node33")));
    }

    #[test]
    fn what_is_named_otherwise_is_none_of_ours() {
        let upper = CLUSTER.to_uppercase();
        let table = [
            format!("synckairos-{CLUSTER}-node3-20260131T080000Z-r4711.backup.part"),
            format!("synckairos-{CLUSTER}-node3-20260131T080000Z-r4711"),
            format!("synckairos-{CLUSTER}-node3-20260131T080000Z-r04711.backup"),
            format!("synckairos-{CLUSTER}-node03-20260131T080000Z-r4711.backup"),
            format!("synckairos-{CLUSTER}-node3-20260131T080000-r4711.backup"),
            format!("synckairos-{CLUSTER}-node3-20260231T080000Z-r4711.backup"),
            format!("synckairos-{CLUSTER}-node3-2026-01-31T08:00:00Z-r4711.backup"),
            format!("synckairos-{CLUSTER}-node3-20260131T080000.5Z-r4711.backup"),
            format!("synckairos-{upper}-node3-20260131T080000Z-r4711.backup"),
            format!("copy of synckairos-{CLUSTER}-node3-20260131T080000Z-r4711.backup"),
            String::from("synckairos-node3-20260131T080000Z-r4711.backup"),
            "synckairos-ä".repeat(20),
            String::from("before-the-upgrade.backup"),
            String::new(),
        ];
        for text in table {
            assert_eq!(BackupName::parse(&text), None, "{text}");
            assert!(!maker().is_part(&text), "{text}");
        }
    }

    #[test]
    fn the_next_one_is_due_a_span_after_the_newest() {
        assert_eq!(next_at(&[], AT, 60), AT);
        let table = [
            (vec![AT - 10], AT + 50),
            (vec![AT - 130, AT - 70, AT - 10], AT + 50),
            (vec![AT - 70], AT - 10),
            (vec![AT], AT + 60),
            // A clock that was wrong.
            (vec![AT + 9_999], AT),
            (vec![AT + 9_999, AT - 10], AT + 50),
        ];
        for (times, expected) in table {
            let made: Vec<BackupName> = times.iter().map(|at| name(*at)).collect();
            assert_eq!(next_at(&made, AT, 60), expected, "{times:?}");
        }
    }

    #[test]
    fn the_oldest_go() {
        let left = |times: &[u64], keep| {
            let made = times.iter().map(|at| name(*at)).collect();
            surplus(made, AT, keep).iter().map(|name| name.at_seconds).collect::<Vec<u64>>()
        };
        assert_eq!(left(&[AT - 1, AT - 3, AT - 2], 2), [AT - 3]);
        assert_eq!(left(&[AT - 1, AT - 3, AT - 2], 1), [AT - 2, AT - 3]);
        assert_eq!(left(&[AT - 1, AT - 3], 2), [0; 0]);
        assert_eq!(left(&[], 2), [0; 0]);
        // The one that was just made stays, whatever the clock said before.
        assert_eq!(left(&[AT + 500, AT + 600, AT], 1), [AT + 600, AT + 500]);
    }
}
