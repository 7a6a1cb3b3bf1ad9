//! A small file system of its own under a directory, which can be filled.
//!
//! It lives in a mount namespace that a process of its own holds, so that it outlives the node that
//! uses it and nothing of it is left on the machine.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::{
    binary,
    process::{self, Process},
    wait::{PATIENCE, eventually},
};

/// The holder ends by itself when this test was killed and could not end it.
const HOLD_SECONDS: u32 = 900;
const FILLER: &str = "filler";

pub struct SmallDisk {
    holder: Process,
    directory: PathBuf,
    rootless: bool,
}

impl SmallDisk {
    /// Mounts `bytes` at `directory`, for those who [`SmallDisk::command`] runs.
    ///
    /// # Panics
    /// Where this machine lets nobody mount anything: without a small disk there is no test.
    pub async fn mount(directory: &Path, bytes: u64) -> Self {
        fs::create_dir_all(directory).expect("the directory is ours");
        let rootless = !rustix::process::geteuid().is_root();
        let script = format!(
            "mount -t tmpfs -o size={bytes} tmpfs '{}' && exec sleep {HOLD_SECONDS}",
            directory.display()
        );
        let mut command = Command::new("unshare");
        command.arg(if rootless { "-Urm" } else { "-m" });
        command.args(["sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::null());
        let disk =
            Self { holder: Process::start(command), directory: directory.to_owned(), rootless };
        let outside = fs::metadata(directory).expect("it was made").dev();
        eventually(
            PATIENCE,
            "a small disk is mounted (needs root or user namespaces)",
            async || match fs::metadata(disk.inside()) {
                Ok(inside) if inside.dev() != outside => Ok(()),
                Ok(_) => Err(String::from("it is not mounted")),
                Err(error) => Err(error.to_string()),
            },
        )
        .await;
        disk
    }

    /// As [`process::command`], with the small disk in its place.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, log: &Path) -> Command {
        let mut command = Command::new("nsenter");
        if self.rootless {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["-t", &self.holder.id().to_string(), "-m", "--"]).arg(binary::path());
        command.args(arguments);
        process::outfit(&mut command, log);
        command
    }

    pub fn free_bytes(&self) -> u64 {
        let disk = statvfs(self.inside()).expect("the disk is mounted");
        disk.f_bavail * disk.f_frsize
    }

    /// Writes until only so much is left.
    ///
    /// # Panics
    /// Where less is left already.
    pub fn fill(&self, leave_bytes: u64) {
        let filler = self.inside().join(FILLER);
        let file = File::options().create(true).append(true).open(filler).expect("a file is made");
        let begin = file.metadata().expect("an open file has a size").len();
        let more = self.free_bytes().checked_sub(leave_bytes).expect("there is more to fill");
        if 0 < more {
            fallocate(&file, FallocateFlags::empty(), begin, more).expect("there is room for it");
        }
    }

    /// Gives back what was filled.
    ///
    /// # Panics
    /// Where nothing was.
    pub fn clear(&self) {
        fs::remove_file(self.inside().join(FILLER)).expect("it was filled");
    }

    /// Its directory, as this process sees it.
    pub fn inside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let below = self.directory.strip_prefix("/").expect("temporary directories are absolute");
        root.join(below)
    }
}
