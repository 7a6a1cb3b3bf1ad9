//! JSON bodies: read within size and time, whatever the route, then parsed.
//!
//! As in v2, a body that is not announced as JSON does not exist.

use std::{io::Read, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use synckairos_protocol::{error::Kind, limits};
use tokio::time::timeout;

use super::error::ApiError;

/// A body over the limit is read and dropped up to here: a client that writes all before it reads
/// would otherwise find its connection reset, and never see why.
const DROPPED_BYTES_MAX: usize = 8 * limits::BODY_BYTES_MAX;

#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("Request body is larger than {} bytes", limits::BODY_BYTES_MAX)]
    TooLarge,
    #[error("Request body did not arrive within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("Request body was cut off: {0}")]
    CutOff(Box<dyn std::error::Error + Send + Sync>),
    #[error("Request body is not valid JSON: {0}")]
    Malformed(serde_json::Error),
    #[error("Request body must be a JSON object or array")]
    Scalar,
    #[error("Request body is not valid {0}")]
    Compression(&'static str),
    #[error("charset {0}")]
    Charset(String),
    #[error("encoding {0}")]
    Encoding(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// The JSON of the request; an empty object where there is none.
///
/// # Errors
/// [`BodyError`] where the body is announced as JSON and is none, or is over a limit.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    time_max: Duration,
) -> Result<Value, BodyError> {
    if !announces_json(headers) {
        return Ok(Value::Object(Map::new()));
    }
    let coding = coding(headers)?;
    let announced = announced_length(headers);
    if announced.is_some_and(|length| DROPPED_BYTES_MAX < length) {
        return Err(BodyError::TooLarge);
    }
    let too_large = announced.is_some_and(|length| limits::BODY_BYTES_MAX < length);
    match timeout(time_max, collect(body)).await {
        Ok(bytes) => parse(&inflate(coding, bytes?)?),
        Err(_) if too_large => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::TimedOut(time_max)),
    }
}

async fn collect(mut body: Body) -> Result<Bytes, BodyError> {
    let (mut bytes, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::CutOff(error.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= limits::BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if DROPPED_BYTES_MAX < length {
            break;
        }
    }
    if limits::BODY_BYTES_MAX < length { Err(BodyError::TooLarge) } else { Ok(bytes.freeze()) }
}

fn parse(bytes: &[u8]) -> Result<Value, BodyError> {
    // JavaScript's decoder drops a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(BodyError::Malformed)?;
    match value {
        Value::Object(_) | Value::Array(_) => Ok(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(BodyError::Scalar)
        }
    }
}

fn inflate(coding: Coding, bytes: Bytes) -> Result<Bytes, BodyError> {
    // One byte more than allowed tells a body at the limit from one beyond it.
    let limit = u64::try_from(limits::BODY_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut inflated = Vec::new();
    let (read, name) = match coding {
        Coding::Identity => return Ok(bytes),
        Coding::Gzip => {
            (MultiGzDecoder::new(&*bytes).take(limit).read_to_end(&mut inflated), "gzip")
        }
        Coding::Deflate => {
            (ZlibDecoder::new(&*bytes).take(limit).read_to_end(&mut inflated), "deflate")
        }
    };
    read.map_err(|_| BodyError::Compression(name))?;
    if limits::BODY_BYTES_MAX < inflated.len() {
        return Err(BodyError::TooLarge);
    }
    Ok(inflated.into())
}

/// Is there a body, and does it say that it is JSON?
fn announces_json(headers: &HeaderMap) -> bool {
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.contains_key(header::CONTENT_LENGTH);
    let essence = content_type(headers).split(';').next().unwrap_or_default();
    has_body && essence.trim().eq_ignore_ascii_case("application/json")
}

/// How the body is compressed, once its charset is known to be one that is read.
fn coding(headers: &HeaderMap) -> Result<Coding, BodyError> {
    let charset = content_type(headers).split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("charset");
        named.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    match charset.as_deref() {
        None | Some("utf-8" | "utf8") => {}
        Some(other) => return Err(BodyError::Charset(other.to_owned())),
    }
    let coding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str());
    match coding {
        None => Ok(Coding::Identity),
        Some(Ok(word)) => match word.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Coding::Identity),
            "gzip" | "x-gzip" => Ok(Coding::Gzip),
            "deflate" => Ok(Coding::Deflate),
            other => Err(BodyError::Encoding(other.to_owned())),
        },
        Some(Err(_)) => Err(BodyError::Encoding(String::from("unreadable"))),
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        match error {
            BodyError::TooLarge => {
                Self::new(Kind::PayloadTooLarge, message).with("bytes_max", limits::BODY_BYTES_MAX)
            }
            BodyError::TimedOut(_)
            | BodyError::CutOff(_)
            | BodyError::Malformed(_)
            | BodyError::Scalar
            | BodyError::Compression(_) => Self::new(Kind::Validation, message),
            BodyError::Charset(charset) => Self::unreadable("charset", &charset),
            BodyError::Encoding(encoding) => Self::unreadable("content_encoding", &encoding),
        }
    }
}

impl BodyError {
    /// Is the rest of the connection of no use, because the body was not read to its end?
    pub(super) const fn spoils_connection(&self) -> bool {
        match self {
            Self::TooLarge | Self::TimedOut(_) | Self::CutOff(_) => true,
            Self::Malformed(_)
            | Self::Scalar
            | Self::Compression(_)
            | Self::Charset(_)
            | Self::Encoding(_) => false,
        }
    }
}
