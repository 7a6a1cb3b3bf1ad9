//! The power fails at every point between a write, its sync, and its answer.
//!
//! Where this process may mount a disk it fails for real, and the file system forgets what was not
//! synced. Everywhere, it is simulated: of the write that was under way, any part of what had not
//! been synced is cut off.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use super::{
    copy,
    crashes::{Acknowledged, as_child, check, listen, listen_with, spawn},
    power_disk::PowerDisk,
};
use crate::crash::SIZES_INTO;

const CHILD: &str = "child_that_writes";
const POINTS: [&str; 4] = ["before-write", "before-sync", "after-sync", "after-mark"];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_fails_at_any_point() {
    if let Some(why) = PowerDisk::missing() {
        eprintln!("the power cannot be cut here: {why}");
        return;
    }
    for kind in ["ext4", "xfs"] {
        for point in POINTS {
            for count in [1, 2, 11, 12, 40] {
                let disk = PowerDisk::mount(kind).expect("it could be mounted before");
                let directory = disk.path().join("data");
                let case = format!("{kind} {point}:{count}");
                let child = spawn(CHILD, &directory, &format!("{point}:{count}"));
                let (acknowledged, success) = listen(child, usize::MAX);
                assert!(!success, "{case}: the child did not die");
                let canary = disk.leave_canary();
                disk.cut_power();
                assert!(fs::read(&canary).map_or(true, |left| left.is_empty()), "{case}");
                check(&directory, &acknowledged, &case).await;
            }
        }
    }
}

/// The process still runs and writes when its disk goes: what it acknowledges must be there.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_that_a_dying_disk_did_not_take() {
    if let Some(why) = PowerDisk::missing() {
        eprintln!("the power cannot be cut here: {why}");
        return;
    }
    for (kind, after) in [("ext4", 57), ("ext4", 333), ("xfs", 120), ("xfs", 801)] {
        let disk = PowerDisk::mount(kind).expect("it could be mounted before");
        let directory = disk.path().join("data");
        let case = format!("{kind} after {after} answers");
        let child = spawn(CHILD, &directory, "");
        let acknowledged = listen_and(child, after, || disk.lose_power());
        disk.power_on();
        check(&directory, &acknowledged, &case).await;
    }
}

/// As [`listen`], with something that happens once the child has said so many lines; it is then
/// left to end by itself.
fn listen_and(child: std::process::Child, after: usize, happens: impl FnOnce()) -> Acknowledged {
    let mut happens = Some(happens);
    let (acknowledged, success) = listen_with(child, |heard| {
        if heard.lines == after
            && let Some(happens) = happens.take()
        {
            happens();
        }
        false
    });
    assert!(!success, "the child went on without a disk");
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_part_of_the_write_under_way_reached_the_disk_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = directory.path().join("sizes");
    let mut cuts = 0;
    for count in [1, 2, 9, 12, 40] {
        let data = directory.path().join(format!("data-{count}"));
        let mut child = Command::new(env::current_exe().unwrap());
        as_child(&mut child, CHILD, &data, &format!("before-sync:{count}"));
        let (acknowledged, success) =
            listen(child.env(SIZES_INTO, &sizes).spawn().unwrap(), usize::MAX);
        assert!(!success, "{count}: the child did not die");
        let synced = read_sizes(&sizes);
        for (name, synced) in synced {
            let file = Path::new("raft").join(&name);
            let full = fs::metadata(data.join(&file)).unwrap().len();
            for length in lengths(synced, full) {
                let left = copy(&data);
                let cut = fs::File::options().write(true).open(left.path().join(&file)).unwrap();
                cut.set_len(length).unwrap();
                drop(cut);
                let case = format!("{count}: {name} cut to {length} of {full}");
                check(left.path(), &acknowledged, &case).await;
                cuts += 1;
            }
        }
    }
    assert!(20 <= cuts, "there was nothing to cut: {cuts}");
}

/// From nothing of the unsynced part to all of it.
fn lengths(synced: u64, full: u64) -> Vec<u64> {
    let more = full.saturating_sub(synced);
    let mut lengths: Vec<u64> = [0, 1, 7, more / 2, more.saturating_sub(1)]
        .into_iter()
        .filter(|part| *part < more)
        .map(|part| synced + part)
        .collect();
    lengths.dedup();
    lengths
}

fn read_sizes(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).expect("the child noted the sizes");
    let line = |line: &str| {
        let (name, size) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), size.parse().unwrap())
    };
    text.lines().map(line).collect()
}
