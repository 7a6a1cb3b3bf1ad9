//! A backup on its way into a file: it gets its name when it is whole, on the disk, and has been
//! read back.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use synckairos_raft_store::backup::{self, BackupError, ManifestV1};

/// What it holds is for its owner.
const MODE: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot {doing} {}: {source}; look for room and for rights there", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("another backup is being written to {}; wait for it", path.display())]
    Busy { path: PathBuf },
    #[error("what was written is not what was sent: {0}; take the backup again")]
    NotWhole(BackupError),
}

/// A file that is removed unless it gets a name.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: File,
    path: PathBuf,
    named: bool,
}

impl PartFile {
    /// Takes the place of what an earlier attempt left under this name.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn create(path: PathBuf) -> Result<Self, FileError> {
        let io = |source| FileError::Io { doing: "write", path: path.clone(), source };
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(MODE);
        let file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FileError::Busy { path }),
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        // Who held it before may have given the file its name in between.
        let (held, there) = (file.metadata().map_err(io)?, fs::metadata(&path));
        if there.map_or(true, |there| there.ino() != held.ino()) {
            return Err(FileError::Busy { path });
        }
        file.set_len(0).map_err(io)?;
        Ok(Self { file, path, named: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Puts it on the disk and reads all of it back; what it is, and its size in bytes.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn seal(&self) -> Result<(ManifestV1, u64), FileError> {
        let io = |source| FileError::Io { doing: "write", path: self.path.clone(), source };
        self.file.sync_all().map_err(io)?;
        let bytes = self.file.metadata().map_err(io)?.len();
        let manifest = backup::verify(&self.path).map_err(FileError::NotWhole)?;
        Ok((manifest, bytes))
    }

    /// Gives it its name, for good. What had that name is replaced.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn name(mut self, name: &Path) -> Result<(), FileError> {
        let io = |source| FileError::Io { doing: "make", path: name.to_owned(), source };
        fs::rename(&self.path, name).map_err(io)?;
        self.named = true;
        let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(parent.unwrap_or(Path::new("."))).map_err(io)?;
        directory.sync_all().map_err(io)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.named {
            // The next attempt takes its place where this fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_not_whole_gets_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.part");
        fs::write(&path, "what an earlier attempt left").unwrap();
        let part = PartFile::create(path.clone()).unwrap();
        assert!(matches!(PartFile::create(path.clone()), Err(FileError::Busy { .. })));
        part.file().write_all(b"no backup").unwrap();
        let refused = part.seal().unwrap_err();
        assert!(refused.to_string().contains("take the backup again"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"no backup");
        drop(part);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let part = PartFile::create(directory.path().join("a.part")).unwrap();
        part.file().write_all(b"whole").unwrap();
        let name = directory.path().join("a.backup");
        part.name(&name).unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"whole");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
