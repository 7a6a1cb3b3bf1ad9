//! Reading a backup: nothing of it is believed before all of it has been checked.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use synckairos_protocol::{
    answered::Record,
    codec::{self, DecodeError, Kind},
    session::Session,
};

use super::{BackupError, MANIFEST_FORMAT, ManifestV1};
use crate::snapshot::format::{Header, ReadRow, Reader, SnapshotError};

const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Of a manifest: far more than it takes.
const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// One thing that a backup holds.
#[derive(Debug)]
pub enum Row<'a> {
    Session(&'a Session),
    /// With its number.
    Answer(u64, &'a Record),
}

/// A backup whose manifest and header were read.
pub(super) struct Begun {
    pub(super) manifest: ManifestV1,
    pub(super) header: Header,
    pub(super) reader: Reader<io::BufReader<fs::File>>,
}

/// Reads all of a backup and says what it is.
///
/// # Errors
/// [`BackupError`] where it cannot be used.
pub fn verify(path: &Path) -> Result<ManifestV1, BackupError> {
    read(path, |_| Ok::<_, BackupError>(()))
}

/// As [`verify`], and shows every row on the way: sessions by id, then answers by number.
///
/// # Errors
/// [`BackupError`] where it cannot be used, or what `visit` says. Then what was shown is not to be
/// believed.
pub fn read<E: From<BackupError>>(
    path: &Path,
    mut visit: impl FnMut(Row<'_>) -> Result<(), E>,
) -> Result<ManifestV1, E> {
    let Begun { manifest, mut reader, .. } = begin(path)?;
    while let Some(rows) = reader.next().map_err(|error| unreadable(path, error))? {
        for (row, _) in &rows {
            match row {
                ReadRow::Session(session) => visit(Row::Session(session))?,
                ReadRow::Answered(number, record) => visit(Row::Answer(*number, record))?,
                ReadRow::Update(_) => {}
            }
        }
    }
    Ok(manifest)
}

pub(super) fn begin(path: &Path) -> Result<Begun, BackupError> {
    let cannot = |source| BackupError::Open { path: path.to_owned(), source };
    let mut input =
        io::BufReader::with_capacity(READ_BUFFER_BYTES, fs::File::open(path).map_err(cannot)?);
    let envelope = read_envelope(&mut input).map_err(cannot)?;
    let manifest: ManifestV1 = codec::decode(Kind::BackupManifest, MANIFEST_FORMAT, &envelope)
        .map_err(|source| {
            let path = path.to_owned();
            match source {
                DecodeError::NewerFormat { .. } => BackupError::Newer { path, source },
                DecodeError::Truncated { .. }
                | DecodeError::NotOurs
                | DecodeError::WrongKind { .. }
                | DecodeError::WrongLength { .. }
                | DecodeError::Damaged { .. }
                | DecodeError::Payload { .. } => BackupError::Manifest { path, source },
            }
        })?;
    let (header, reader) = Reader::begin(input).map_err(|error| unreadable(path, error))?;
    let same = header.meta.last_log_id.map(|at| at.index) == Some(manifest.revision)
        && header.now == manifest.cluster_time
        && header.level == manifest.level
        && (header.sessions, header.answered) == (manifest.sessions, manifest.answers);
    if !same {
        return Err(BackupError::Mismatch { path: path.to_owned() });
    }
    Ok(Begun { manifest, header, reader })
}

/// As many bytes as the envelope says it has, or as there are.
fn read_envelope(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut envelope = Vec::with_capacity(codec::HEADER_BYTES);
    input.by_ref().take(codec::HEADER_BYTES as u64).read_to_end(&mut envelope)?;
    let announced = envelope.get(6..10).and_then(|length| length.try_into().ok());
    let length = announced.map_or(0, |length| u32::from_le_bytes(length) as usize);
    let length = length.min(MANIFEST_BYTES_MAX);
    input.by_ref().take(length as u64).read_to_end(&mut envelope)?;
    Ok(envelope)
}

pub(super) fn unreadable(path: &Path, source: SnapshotError) -> BackupError {
    let path = path.to_owned();
    match source {
        SnapshotError::Io(source) => BackupError::Open { path, source },
        SnapshotError::Damaged { source: source @ DecodeError::NewerFormat { .. }, .. } => {
            BackupError::Newer { path, source }
        }
        SnapshotError::Damaged { .. }
        | SnapshotError::Encode(_)
        | SnapshotError::Cut { .. }
        | SnapshotError::TooLong { .. }
        | SnapshotError::Trailing { .. }
        | SnapshotError::Disordered { .. }
        | SnapshotError::WrongCount { .. }
        | SnapshotError::WrongHash
        | SnapshotError::OtherPosition { .. }
        | SnapshotError::OtherRow { .. }
        | SnapshotError::Database(_)
        | SnapshotError::State(_) => BackupError::Damaged { path, source },
    }
}
