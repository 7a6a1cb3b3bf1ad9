//! A look at a database's files before RocksDB reads them.
//!
//! RocksDB checks the sum of every record that it reads, but it trusts the frame around it, and the
//! frame decides what it reads at all. In the mode in which it may forgive a record that a crash cut
//! off, one wrong byte in a frame lets it leave out what follows without a word, and another lets it
//! read the same place for ever. So the frames are followed here first, as RocksDB will follow them,
//! and refused where they lead past something. Sums stay RocksDB's business.
//!
//! What is missing at the very end cannot be seen from the files: that is what the mark of the log
//! is for.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

/// Frames never cross the border of a block.
const BLOCK_BYTES: usize = 32 * 1024;
/// Sum (4 bytes), length (2), type (1).
const FRAME_BYTES: usize = 7;
/// Sequence number (8 bytes) and count (4) at the beginning of every batch.
const BATCH_HEAD_BYTES: usize = 12;

const NEVER_WRITTEN: u8 = 0;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// In files that are used a second time. Ours never are, and where RocksDB meets one of these in a
/// file that did not begin with one, it never returns.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Files that would be read wrongly.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} holds a record of type {kind}, which is never written", path.display())]
    Type { path: PathBuf, kind: u8 },
    #[error("records are missing before write {actual} in {}: write {expected} is due", path.display())]
    Hole { path: PathBuf, expected: u64, actual: u64 },
    #[error("records are missing in {}: others follow what was never written", path.display())]
    Gap { path: PathBuf },
}

/// Refuses a database whose files would be read as if something that they hold were not there.
pub(crate) fn check(directory: &Path) -> Result<(), FilesError> {
    if let Some(manifest) = manifest(directory)? {
        each_record(&manifest, false, |record| {
            let path = manifest.clone();
            if record.after_gap { Err(FilesError::Gap { path }) } else { Ok(()) }
        })?;
    }
    let (mut due, mut gap) = (None, false);
    for path in write_ahead_files(directory)? {
        gap = each_record(&path, gap, |record| {
            let Some((actual, count)) = sequence(record.head) else { return Ok(()) };
            match due {
                Some(expected) if record.after_gap && actual != expected => {
                    return Err(FilesError::Hole { path: path.clone(), expected, actual });
                }
                _ => due = actual.checked_add(count),
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The file that says which others belong to the database; `None` where RocksDB will make one, or
/// say what is wrong with its name.
fn manifest(directory: &Path) -> Result<Option<PathBuf>, FilesError> {
    let current = directory.join("CURRENT");
    let name = match fs::read(&current) {
        Ok(name) => name,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FilesError::Io { path: current, source }),
    };
    let name = String::from_utf8_lossy(&name);
    let path = directory.join(name.trim_end());
    Ok(path.is_file().then_some(path))
}

/// In the order in which they were written.
fn write_ahead_files(directory: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let failed = |source| FilesError::Io { path: directory.to_owned(), source };
    let mut numbered = Vec::new();
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    for file in files {
        let path = file.map_err(failed)?.path();
        let is_write_ahead = path.extension().is_some_and(|extension| extension == "log");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if is_write_ahead && let Some(number) = stem.and_then(|stem| stem.parse::<u64>().ok()) {
            numbered.push((number, path));
        }
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// The number of a batch's first write, and how many there are.
fn sequence(head: &[u8]) -> Option<(u64, u64)> {
    let (sequence, count) = head.get(..BATCH_HEAD_BYTES)?.split_at(8);
    let sequence = u64::from_le_bytes(sequence.try_into().ok()?);
    let count = u32::from_le_bytes(count.try_into().ok()?);
    Some((sequence, u64::from(count)))
}

/// A record that RocksDB will find.
struct Record<'a> {
    /// How it begins.
    head: &'a [u8],
    /// Something before it will be left out.
    after_gap: bool,
}

/// Follows the frames of a file; `gap` says whether something before it is left out already.
/// Returns whether something at its end is.
fn each_record(
    path: &Path,
    mut gap: bool,
    mut found: impl FnMut(Record<'_>) -> Result<(), FilesError>,
) -> Result<bool, FilesError> {
    let failed = |source| FilesError::Io { path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    // Of a record that goes on in the next frame.
    let mut begun: Option<Vec<u8>> = None;
    loop {
        block.clear();
        let read = file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block);
        if read.map_err(failed)? == 0 {
            return Ok(gap || begun.is_some());
        }
        let mut rest = block.as_slice();
        while let Some(frame) = Frame::split_from(&mut rest) {
            if RECYCLED.contains(&frame.kind) {
                return Err(FilesError::Type { path: path.to_owned(), kind: frame.kind });
            }
            let Some(body) = frame.body else {
                gap = true;
                break;
            };
            let ends = matches!(frame.kind, FULL | LAST);
            let head = match (frame.kind, begun.take()) {
                (FULL | FIRST, None) => head_of(Vec::new(), body),
                (MIDDLE | LAST, Some(head)) => head_of(head, body),
                // Another type, or a part without its beginning or end: RocksDB says so.
                (_, _) => continue,
            };
            if ends {
                found(Record { head: &head, after_gap: gap })?;
                gap = false;
            } else {
                begun = Some(head);
            }
        }
        // Less than a frame: what is left of a block is padding, of a file a frame that was cut off.
        gap |= !rest.is_empty() && block.len() < BLOCK_BYTES;
    }
}

fn head_of(mut head: Vec<u8>, body: &[u8]) -> Vec<u8> {
    let missing = BATCH_HEAD_BYTES.saturating_sub(head.len());
    head.extend(&body[..missing.min(body.len())]);
    head
}

struct Frame<'a> {
    kind: u8,
    /// `None` where RocksDB leaves out the rest of the block.
    body: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// The next frame of a block; `None` at its end.
    fn split_from(rest: &mut &'a [u8]) -> Option<Self> {
        let (frame, after) = rest.split_at_checked(FRAME_BYTES)?;
        let (length, kind) = (usize::from(u16::from_le_bytes([frame[4], frame[5]])), frame[6]);
        let never_written = kind == NEVER_WRITTEN && length == 0;
        let split = after.split_at_checked(length).filter(|_| !never_written);
        *rest = split.map_or(&[], |(_, after)| after);
        Some(Self { kind, body: split.map(|(body, _)| body) })
    }
}
