//! The form of a snapshot: a header, chunks of rows, and a trailer, each in an envelope.
//!
//! Each envelope carries its own checksum; the trailer carries the count of rows and a hash of
//! every byte before it. Rows are ordered: sessions by id, answers by number, updates by session
//! and version; each appears once.

use std::{
    fmt,
    io::{self, Read, Write},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use synckairos_protocol::{
    answered::Record,
    codec::{self, DecodeError, EncodeError, Kind},
    limits,
    session::Session,
};

pub(crate) use super::header::Header;
use crate::state::{
    db::StateError,
    rows::{self, StoredUpdate},
};

const CHUNK_FORMAT: u16 = 1;
const TRAILER_FORMAT: u16 = 1;

/// A chunk is written before it would grow beyond this; a single row may be larger.
const CHUNK_BYTES: usize = 256 * 1024;
/// Longest envelope that a reader accepts: the largest row alone in a chunk.
const ENVELOPE_BYTES_MAX: usize = limits::ROW_BYTES_MAX + CHUNK_BYTES;
/// Where the length of the payload stands in an envelope.
const LENGTH_AT: std::ops::Range<usize> = 6..10;
const KIND_AT: usize = 2;

#[derive(Debug, Default, Serialize, Deserialize)]
struct ChunkV1 {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TrailerV1 {
    rows: u64,
    blake3: [u8; 32],
}

/// What a row holds.
#[derive(Debug)]
pub(crate) enum ReadRow {
    Session(Box<Session>),
    /// With its number.
    Answered(u64, Record),
    Update(StoredUpdate),
}

/// A row and its stored form.
pub(crate) type StoredRow = (ReadRow, Vec<u8>);

/// Where a row stands among all rows. The derived order is the one that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Session([u8; 20]),
    Answered(u64),
    Update([u8; rows::UPDATE_KEY_BYTES]),
}

/// A stored row: an envelope of its own.
#[derive(Debug)]
struct Row(Vec<u8>);

/// Why a snapshot cannot be written or believed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("cut off at byte {offset}")]
    Cut { offset: u64 },
    #[error("damaged at byte {offset}: {source}")]
    Damaged { offset: u64, source: DecodeError },
    #[error("a part of {bytes} bytes at byte {offset}, at most {ENVELOPE_BYTES_MAX}")]
    TooLong { offset: u64, bytes: usize },
    #[error("bytes after the end, at byte {offset}")]
    Trailing { offset: u64 },
    #[error("rows are not in order at byte {offset}")]
    Disordered { offset: u64 },
    #[error("{actual} rows, {announced} announced")]
    WrongCount { actual: u64, announced: u64 },
    #[error("the hash of the whole is not the announced one")]
    WrongHash,
    #[error("covers the log up to {actual}, and {announced} was announced")]
    OtherPosition { actual: String, announced: String },
    #[error("a row of another kind at byte {offset}")]
    OtherRow { offset: u64 },
    #[error("state database: {0}")]
    Database(#[from] rocksdb::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

/// Writes a snapshot, row by row.
pub(crate) struct Writer<W> {
    output: W,
    hasher: blake3::Hasher,
    chunk: ChunkV1,
    chunk_bytes: usize,
    rows: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn begin(output: W, header: &Header) -> Result<Self, SnapshotError> {
        let hasher = blake3::Hasher::new();
        let mut writer =
            Self { output, hasher, chunk: ChunkV1::default(), chunk_bytes: 0, rows: 0 };
        writer.put(&header.encode()?)?;
        Ok(writer)
    }

    /// Appends a stored row.
    pub(crate) fn row(&mut self, row: &[u8]) -> Result<(), SnapshotError> {
        if CHUNK_BYTES < self.chunk_bytes + row.len() {
            self.flush_chunk()?;
        }
        self.chunk.rows.push(Row(row.to_owned()));
        self.chunk_bytes += row.len();
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<W, SnapshotError> {
        self.flush_chunk()?;
        let blake3 = *self.hasher.finalize().as_bytes();
        let trailer = TrailerV1 { rows: self.rows, blake3 };
        self.put(&codec::encode(Kind::SnapshotTrailer, TRAILER_FORMAT, &trailer)?)?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn flush_chunk(&mut self) -> Result<(), SnapshotError> {
        if self.chunk.rows.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        self.put(&codec::encode(Kind::SnapshotChunk, CHUNK_FORMAT, &chunk)?)
    }

    fn put(&mut self, envelope: &[u8]) -> Result<(), SnapshotError> {
        self.hasher.update(envelope);
        Ok(self.output.write_all(envelope)?)
    }
}

/// Reads a snapshot and checks it on the way. What it read is to be believed only once
/// [`Reader::next`] has answered `None`.
pub(crate) struct Reader<R> {
    input: R,
    hasher: blake3::Hasher,
    header: Header,
    sessions: u64,
    answered: u64,
    rows: u64,
    last: Option<Place>,
    offset: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(crate) fn begin(mut input: R) -> Result<(Header, Self), SnapshotError> {
        let envelope = read_envelope(&mut input, 0)?.ok_or(SnapshotError::Cut { offset: 0 })?;
        let header = Header::decode(&envelope)
            .map_err(|source| SnapshotError::Damaged { offset: 0, source })?;
        let mut reader = Self {
            input,
            hasher: blake3::Hasher::new(),
            header: header.clone(),
            sessions: 0,
            answered: 0,
            rows: 0,
            last: None,
            offset: 0,
            ended: false,
        };
        reader.consume(&envelope);
        Ok((header, reader))
    }

    /// The next rows, each with its stored form; `None` after the last, when all is checked.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<StoredRow>>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let envelope = read_envelope(&mut self.input, self.offset)?
            .ok_or(SnapshotError::Cut { offset: self.offset })?;
        if envelope[KIND_AT] == Kind::SnapshotTrailer as u8 {
            self.end(&envelope)?;
            return Ok(None);
        }
        let chunk: ChunkV1 = self.decode(Kind::SnapshotChunk, CHUNK_FORMAT, &envelope)?;
        let mut rows = Vec::with_capacity(chunk.rows.len());
        for Row(row) in chunk.rows {
            let (read, place) = self.read_row(&row)?;
            if self.last.is_some_and(|last| place <= last) {
                return Err(SnapshotError::Disordered { offset: self.offset });
            }
            self.last = Some(place);
            self.rows += 1;
            rows.push((read, row));
        }
        self.consume(&envelope);
        Ok(Some(rows))
    }

    fn read_row(&mut self, row: &[u8]) -> Result<(ReadRow, Place), SnapshotError> {
        let offset = self.offset;
        let damaged = |source| SnapshotError::Damaged { offset, source };
        let kind = row.get(KIND_AT).copied();
        if kind == Some(Kind::SessionRow as u8) {
            let session = rows::decode_session(row).map_err(damaged)?;
            self.sessions += 1;
            let place = Place::Session(session.id.to_key());
            Ok((ReadRow::Session(Box::new(session)), place))
        } else if kind == Some(Kind::AnsweredRow as u8) {
            let record = rows::decode_record(row).map_err(damaged)?;
            let number = self.header.answered_first + self.answered;
            self.answered += 1;
            Ok((ReadRow::Answered(number, record), Place::Answered(number)))
        } else if kind == Some(Kind::UpdateRow as u8) {
            let update = rows::decode_update(row).map_err(damaged)?;
            let (id, version) = (update.session.id, update.session.version);
            let place = Place::Update(rows::update_key(id, version, update.revision));
            Ok((ReadRow::Update(update), place))
        } else {
            Err(SnapshotError::OtherRow { offset })
        }
    }

    fn end(&mut self, envelope: &[u8]) -> Result<(), SnapshotError> {
        let trailer: TrailerV1 = self.decode(Kind::SnapshotTrailer, TRAILER_FORMAT, envelope)?;
        let counts = [
            (self.rows, trailer.rows),
            (self.sessions, self.header.sessions),
            (self.answered, self.header.answered),
        ];
        for (actual, announced) in counts {
            if actual != announced {
                return Err(SnapshotError::WrongCount { actual, announced });
            }
        }
        if trailer.blake3 != *self.hasher.finalize().as_bytes() {
            return Err(SnapshotError::WrongHash);
        }
        self.consume(envelope);
        if self.input.read(&mut [0])? != 0 {
            return Err(SnapshotError::Trailing { offset: self.offset });
        }
        self.ended = true;
        Ok(())
    }

    fn consume(&mut self, envelope: &[u8]) {
        self.hasher.update(envelope);
        self.offset += envelope.len() as u64;
    }

    fn decode<T: de::DeserializeOwned>(
        &self,
        kind: Kind,
        newest: u16,
        envelope: &[u8],
    ) -> Result<T, SnapshotError> {
        codec::decode(kind, newest, envelope)
            .map_err(|source| SnapshotError::Damaged { offset: self.offset, source })
    }
}

/// The bytes of the next envelope; `None` at the end of the file.
fn read_envelope(input: &mut impl Read, offset: u64) -> Result<Option<Vec<u8>>, SnapshotError> {
    let mut envelope = Vec::with_capacity(codec::HEADER_BYTES);
    input.take(codec::HEADER_BYTES as u64).read_to_end(&mut envelope)?;
    if envelope.is_empty() {
        return Ok(None);
    }
    let length: Option<[u8; 4]> = envelope.get(LENGTH_AT).and_then(|length| length.try_into().ok());
    let length = length.ok_or(SnapshotError::Cut { offset })?;
    let bytes = u32::from_le_bytes(length) as usize;
    if ENVELOPE_BYTES_MAX < bytes {
        return Err(SnapshotError::TooLong { offset, bytes });
    }
    input.take(bytes as u64).read_to_end(&mut envelope)?;
    if envelope.len() < codec::HEADER_BYTES + bytes {
        return Err(SnapshotError::Cut { offset });
    }
    Ok(Some(envelope))
}

impl SnapshotError {
    /// The bytes are not those that were written: no version can read them.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { source: DecodeError::NewerFormat { .. }, .. }
            | Self::Io(_)
            | Self::Encode(_)
            | Self::Database(_)
            | Self::State(_) => false,
            Self::Cut { .. }
            | Self::Damaged { .. }
            | Self::TooLong { .. }
            | Self::Trailing { .. }
            | Self::Disordered { .. }
            | Self::OtherRow { .. }
            | Self::WrongCount { .. }
            | Self::WrongHash
            | Self::OtherPosition { .. } => true,
        }
    }
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        if let SnapshotError::Io(error) = error {
            return error;
        }
        let damage = error.is_damage();
        let kind = if damage { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
        Self::new(kind, error)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = Row;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Row, E> {
                Ok(Row(bytes.to_owned()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Row, E> {
                Ok(Row(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Bytes)
    }
}
