//! What a node's data lies on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::process;
use crate::test::plan::DiskKind;

const COMMAND_WITHIN: Duration = Duration::from_secs(30);
const REMOUNT_TRIES: u32 = 50;
const REMOUNT_WAIT: Duration = Duration::from_millis(100);

/// Room for a node's log, state and snapshots in a test.
const LOOP_BYTES: u64 = 512 << 20;
/// Both databases reserve the room of their newest file, which in memory is room that is used.
const TMPFS_BYTES: u64 = 384 << 20;

/// One node's disk. Mounts are in the runner's own mount namespace, so that nothing is left of them
/// when the runner is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    kind: DiskKind,
    /// Where it is mounted, or just a directory.
    mount: PathBuf,
    image: PathBuf,
}

impl Storage {
    /// An empty disk below `home`.
    ///
    /// # Errors
    /// Where it cannot be made or mounted.
    pub async fn prepare(kind: DiskKind, home: &Path) -> io::Result<Self> {
        let (mount, image) = (home.join("disk"), home.join("disk.img"));
        fs::create_dir_all(&mount)?;
        let storage = Self { kind, mount, image };
        match kind {
            DiskKind::Plain => {}
            DiskKind::Tmpfs => {
                let size = format!("size={TMPFS_BYTES}");
                run(Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                    .arg(&storage.mount))
                .await?;
            }
            DiskKind::LoopExt4 | DiskKind::LoopXfs => {
                fs::File::create(&storage.image)?.set_len(LOOP_BYTES)?;
                let program = if kind == DiskKind::LoopXfs { "mkfs.xfs" } else { "mkfs.ext4" };
                run(Command::new(program).arg("-q").arg(&storage.image)).await?;
                storage.mount().await?;
            }
        }
        Ok(storage)
    }

    /// The node's own directory on it.
    pub fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// Where it is mounted.
    pub fn mounted_at(&self) -> &Path {
        &self.mount
    }

    pub const fn kind(&self) -> DiskKind {
        self.kind
    }

    /// Can its power be cut?
    pub const fn has_power(&self) -> bool {
        matches!(self.kind, DiskKind::LoopExt4 | DiskKind::LoopXfs)
    }

    /// Cuts the power: what was not synced is lost, and every later write fails, until
    /// [`Storage::power_on`]. The node still runs, on a dead disk.
    ///
    /// # Errors
    /// Where the file system does not do it.
    pub async fn power_off(&self) -> io::Result<()> {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.mount)).await
    }

    /// Mounts it again. Nobody may have files open on it.
    ///
    /// # Errors
    /// Where it stays busy or cannot be mounted.
    pub async fn power_on(&self) -> io::Result<()> {
        let mut last = None;
        for _ in 0..REMOUNT_TRIES {
            match run(Command::new("umount").arg(&self.mount)).await {
                Ok(()) => return self.mount().await,
                Err(error) => last = Some(error),
            }
            // The processes that were killed let go of their files in their own time.
            tokio::time::sleep(REMOUNT_WAIT).await;
        }
        Err(last.unwrap_or_else(|| io::Error::other("it was never tried")))
    }

    /// Lets go of it.
    pub async fn release(&self) {
        if self.kind != DiskKind::Plain {
            // The namespace ends with the runner in any case.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount)).await;
            let _ = fs::remove_file(&self.image);
        }
    }

    async fn mount(&self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount)).await
    }
}

async fn run(command: &mut Command) -> io::Result<()> {
    let mut owned = Command::new(command.get_program());
    owned.args(command.get_args());
    process::run(owned, COMMAND_WITHIN).await.map(|_| ())
}
