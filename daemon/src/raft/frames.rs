//! Frames on a QUIC stream: envelopes of `protocol::codec`, one after another.
//!
//! The envelope's own header says how long it is, so a frame needs nothing around it.

use bytes::Bytes;
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};
use synckairos_protocol::{
    codec::{self, DecodeError, EncodeError, HEADER_BYTES, Kind},
    limits,
};

/// The only format of frames so far.
const FORMAT: u16 = 1;
/// Bytes are asked for in steps of this size, so that an announced length alone takes no memory.
const READ_STEP_BYTES: usize = 256 * 1024;

/// What goes over streams. The kind is in every envelope.
pub(crate) trait Frame {
    const KIND: Kind;
}

/// A frame could not be sent or received. Other streams of the connection may be well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the stream broke while writing: {0}")]
    Write(#[from] WriteError),
    #[error("the stream broke while reading: {0}")]
    Read(#[from] ReadError),
    #[error("the stream ended inside a frame")]
    Cut,
    #[error("the stream ended where a frame was due")]
    Ended,
    #[error("{announced} bytes announced, at most {max} accepted")]
    TooLarge { announced: usize, max: usize },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl FrameError {
    /// Did the peer send what it must not, as opposed to a network that failed?
    pub(crate) fn is_violation(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Decode(_) => true,
            Self::Write(_) | Self::Read(_) | Self::Cut | Self::Ended | Self::Encode(_) => false,
        }
    }
}

/// # Errors
/// [`EncodeError`] where `frame` is over [`limits::FRAME_BYTES_MAX`].
pub(crate) fn encode<T: Frame + Serialize>(frame: &T) -> Result<Bytes, EncodeError> {
    codec::encode(T::KIND, FORMAT, frame).map(Bytes::from)
}

/// # Errors
/// [`FrameError::Encode`] or [`FrameError::Write`].
pub(crate) async fn write<T: Frame + Serialize>(
    stream: &mut SendStream,
    frame: &T,
) -> Result<(), FrameError> {
    Ok(stream.write_chunk(encode(frame)?).await?)
}

/// The next frame; `None` where the stream ended in good order before it.
///
/// # Errors
/// [`FrameError`]: after one, nothing more can be read from the stream.
pub(crate) async fn read<T: Frame + DeserializeOwned>(
    stream: &mut RecvStream,
) -> Result<Option<T>, FrameError> {
    read_within(stream, limits::FRAME_BYTES_MAX).await
}

async fn read_within<T: Frame + DeserializeOwned>(
    stream: &mut RecvStream,
    max: usize,
) -> Result<Option<T>, FrameError> {
    let mut bytes = vec![0; HEADER_BYTES];
    match stream.read_exact(&mut bytes).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(read_error(error)),
    }
    let announced = u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]) as usize;
    if max < announced {
        return Err(FrameError::TooLarge { announced, max });
    }
    let whole = HEADER_BYTES + announced;
    while bytes.len() < whole {
        let start = bytes.len();
        bytes.resize(whole.min(start + READ_STEP_BYTES), 0);
        stream.read_exact(&mut bytes[start..]).await.map_err(read_error)?;
    }
    Ok(Some(codec::decode(T::KIND, FORMAT, &bytes)?))
}

/// The next frame, where there must be one.
///
/// # Errors
/// [`FrameError::Ended`] and all others of [`read`].
pub(crate) async fn read_one<T: Frame + DeserializeOwned>(
    stream: &mut RecvStream,
) -> Result<T, FrameError> {
    read(stream).await?.ok_or(FrameError::Ended)
}

/// As [`read_one`], of at most `max` bytes of payload.
///
/// # Errors
/// As [`read_one`].
pub(crate) async fn read_small<T: Frame + DeserializeOwned>(
    stream: &mut RecvStream,
    max: usize,
) -> Result<T, FrameError> {
    read_within(stream, max).await?.ok_or(FrameError::Ended)
}

fn read_error(error: ReadExactError) -> FrameError {
    match error {
        ReadExactError::FinishedEarly(_) => FrameError::Cut,
        ReadExactError::ReadError(error) => FrameError::Read(error),
    }
}
