//! A control group (version 1) with a quota of processor time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use tokio::time::sleep;

const PREFIX: &str = "synckairos-jepsen-";
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];
/// A group is busy for a moment after its last process has gone.
const REMOVE_TRIES: u32 = 20;
const REMOVE_WAIT: Duration = Duration::from_millis(50);

pub(super) struct Quota {
    /// The group that we are in.
    parent: PathBuf,
    group: PathBuf,
}

/// What the kernel did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// In so many turns the group used up what it was given.
    pub(super) throttled: u64,
    /// Of all its threads together.
    pub(super) throttled_ms: u64,
}

impl Quota {
    /// That of a fault of this runner; it need not be there.
    pub(super) fn of(fault: u64) -> Self {
        let parent = own_group(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
        let group = parent.join(format!("{PREFIX}{}-{fault}", process::id()));
        Self { parent, group }
    }

    /// Makes it, and takes away what earlier runners left behind.
    ///
    /// # Errors
    /// Where the kernel has none, or we may not.
    pub(super) fn install(&self, (run_ms, turn_ms): (u64, u64)) -> io::Result<()> {
        if !self.parent.join("cpu.cfs_quota_us").exists() && !self.parent.join("tasks").exists() {
            let message = "there are no control groups of version 1";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        self.sweep();
        fs::create_dir(&self.group)?;
        let set = |file: &str, ms: u64| {
            fs::write(self.group.join(file), (ms.saturating_mul(1_000)).to_string())
        };
        let result =
            set("cpu.cfs_period_us", turn_ms).and_then(|()| set("cpu.cfs_quota_us", run_ms));
        if result.is_err() {
            let _ = fs::remove_dir(&self.group);
        }
        result
    }

    /// Puts a process with all its threads into it. Does nothing where it is there.
    ///
    /// # Errors
    /// Where the process is gone.
    pub(super) fn hold(&self, pid: u32) -> io::Result<()> {
        fs::write(self.group.join("cgroup.procs"), pid.to_string())
    }

    pub(super) fn told(&self) -> Told {
        told_in(&fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default())
    }

    /// Lets its processes go.
    ///
    /// # Errors
    /// Where it stays.
    pub(super) async fn remove(&self) -> io::Result<()> {
        let mut last = None;
        for _ in 0..REMOVE_TRIES {
            self.empty(&self.group);
            match fs::remove_dir(&self.group) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            sleep(REMOVE_WAIT).await;
        }
        Err(last.unwrap_or_else(|| io::Error::other("it was never tried")))
    }

    fn empty(&self, group: &Path) {
        let held = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in held.lines() {
            // It may have ended.
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
    }

    /// Groups of runners that are gone.
    fn sweep(&self) {
        let Ok(groups) = fs::read_dir(&self.parent) else { return };
        for group in groups.flatten() {
            let name = group.file_name();
            let runner = name.to_str().and_then(runner_of);
            if runner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                self.empty(&group.path());
                let _ = fs::remove_dir(group.path());
            }
        }
    }
}

/// Lines such as `3:cpu,cpuacct:/some/group`.
fn own_group(text: &str) -> PathBuf {
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == "cpu").then_some(path)
    });
    let mount = MOUNTS.iter().find(|mount| Path::new(mount).is_dir()).unwrap_or(&MOUNTS[0]);
    let own = Path::new(mount).join(path.unwrap_or_default().trim_start_matches('/'));
    // In a container the path is that of the host, and the mount begins where the container does.
    if own.is_dir() { own } else { PathBuf::from(mount) }
}

fn runner_of(group: &str) -> Option<u32> {
    let (runner, _) = group.strip_prefix(PREFIX)?.split_once('-')?;
    runner.parse().ok()
}

fn told_in(text: &str) -> Told {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    Told { throttled: value("nr_throttled"), throttled_ms: value("throttled_time") / 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let text = "nr_periods 12\nnr_throttled 7\nthrottled_time 512345678\n";
        assert_eq!(told_in(text), Told { throttled: 7, throttled_ms: 512 });
        assert_eq!(told_in("nr_throttled_other 7"), Told::default());
        assert_eq!(runner_of("synckairos-jepsen-812-3"), Some(812));
        assert_eq!(runner_of("synckairos-jepsen-x-3"), None);
        assert_eq!(runner_of("somebody-else-812-3"), None);
    }

    #[test]
    fn only_groups_of_runners_that_are_gone_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let group = |name: String| {
            fs::create_dir(parent.path().join(&name)).unwrap();
            name
        };
        let here = group(format!("{PREFIX}{}-1", process::id()));
        let gone = group(format!("{PREFIX}{}-1", u32::MAX));
        let other = group(String::from("other"));
        let parent = parent.path().to_owned();
        let quota = Quota { group: parent.join("none"), parent };
        quota.sweep();
        let is_there = |name: &String| quota.parent.join(name).exists();
        assert_eq!([is_there(&here), is_there(&gone), is_there(&other)], [true, false, true]);
    }
}
