//! A disk whose power can be cut: a file system of its own on a loop device, which forgets what was
//! not synced. It needs root.
//!
//! It is mounted in a mount namespace that a process of its own holds, so that nothing is left of
//! it on the machine, whatever becomes of the test.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Room for a log and an empty state; xfs wants no less.
const BYTES: u64 = 320 << 20;
/// The holder ends by itself when the test was killed and could not end it.
const HOLD_SECONDS: u32 = 600;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct PowerDisk {
    directory: TempDir,
    holder: Child,
}

impl PowerDisk {
    /// Why there can be none here.
    pub(super) fn missing() -> Option<&'static str> {
        let done = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !done("sh", &["-c", "test $(id -u) -eq 0"]) {
            return Some("loop mounts need root");
        }
        if !done("sh", &["-c", "command -v xfs_io mkfs.ext4 mkfs.xfs unshare nsenter"]) {
            return Some("xfsprogs, e2fsprogs and util-linux are needed");
        }
        let probe = Self::mount("ext4");
        probe.is_none().then_some("this machine mounts no loop devices")
    }

    /// A fresh one, of this kind of file system.
    pub(super) fn mount(kind: &str) -> Option<Self> {
        let directory = tempfile::tempdir().ok()?;
        let (image, mount) = (directory.path().join("image"), directory.path().join("mount"));
        fs::create_dir(&mount).ok()?;
        fs::File::create(&image).ok()?.set_len(BYTES).ok()?;
        let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).status().ok()?;
        if !made.success() {
            return None;
        }
        let script = format!(
            "mount -o loop '{}' '{}' && exec sleep {HOLD_SECONDS}",
            image.display(),
            mount.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        let holder = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let outside = fs::metadata(&mount).ok()?.dev();
        let mut disk = Self { directory, holder };
        let deadline = Instant::now() + PATIENCE;
        while fs::metadata(disk.path()).map_or(outside, |inside| inside.dev()) == outside {
            if deadline < Instant::now() || disk.holder.try_wait().ok()?.is_some() {
                return None;
            }
            thread::yield_now();
        }
        Some(disk)
    }

    /// Where it is mounted, as this process sees it.
    pub(super) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let mount = self.directory.path().join("mount");
        root.join(mount.strip_prefix("/").unwrap_or(&mount))
    }

    /// The power fails and comes back. Nobody may have a file open on it.
    pub(super) fn cut_power(&self) {
        self.lose_power();
        self.power_on();
    }

    /// From here on every write fails, and what was not synced is lost.
    pub(super) fn lose_power(&self) {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path()));
    }

    pub(super) fn power_on(&self) {
        let script = format!(
            "umount '{mount}' && mount -o loop '{image}' '{mount}'",
            mount = self.directory.path().join("mount").display(),
            image = self.directory.path().join("image").display()
        );
        let holder = self.holder.id().to_string();
        run(Command::new("nsenter").args(["-t", &holder, "-m", "sh", "-c", &script]));
    }

    /// Writes a file and does not sync it: it is gone after a power failure that was one.
    pub(super) fn leave_canary(&self) -> PathBuf {
        let canary = self.path().join("canary");
        fs::write(&canary, "this was not synced").expect("there is room");
        canary
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the command is there");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
