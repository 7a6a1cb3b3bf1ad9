//! The stored forms of what the state holds, each under the format level that brought it.
//!
//! What was written by an older release is read for ever, and takes today's form when it is
//! written again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    answered::Record,
    codec::{self, DecodeError, EncodeError, Kind},
    event::{Cause, Event},
    ids::SessionId,
    machine::LEVEL_OLDEST,
    roster::Roster,
    session::{Session, v1::SessionV1},
};

/// [`SessionV1`]: at format level 1.
const SESSION_FORMAT_1: u16 = 1;
/// [`Session`]: from format level 2 on.
const SESSION_FORMAT_2: u16 = 2;
const ANSWERED_FORMAT: u16 = 1;
const UPDATE_FORMAT: u16 = 1;
const ROSTER_FORMAT: u16 = 1;

/// A session id in a key.
pub(crate) const SESSION_KEY_BYTES: usize = 20;
/// Session, version, revision.
pub(crate) const UPDATE_KEY_BYTES: usize = SESSION_KEY_BYTES + 8 + 8;

/// A version of a session that was pushed, kept so that a subscriber who missed it can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUpdate {
    /// Index of the log entry that did it.
    pub revision: u64,
    pub event: Event,
    pub cause: Cause,
    /// As it was at this version.
    pub session: Arc<Session>,
}

#[derive(Serialize, Deserialize)]
struct UpdateRowV1 {
    revision: u64,
    event: Event,
    cause: Cause,
    session: Arc<Session>,
}

/// The form that every node at this format level reads.
pub(crate) fn encode_session(session: &Session, level: u16) -> Result<Vec<u8>, EncodeError> {
    if level <= LEVEL_OLDEST {
        codec::encode(Kind::SessionRow, SESSION_FORMAT_1, &SessionV1::from(session))
    } else {
        codec::encode(Kind::SessionRow, SESSION_FORMAT_2, session)
    }
}

pub(crate) fn decode_session(row: &[u8]) -> Result<Session, DecodeError> {
    if codec::format_of(row) == Some(SESSION_FORMAT_1) {
        let old: SessionV1 = codec::decode(Kind::SessionRow, SESSION_FORMAT_1, row)?;
        Ok(old.into())
    } else {
        codec::decode(Kind::SessionRow, SESSION_FORMAT_2, row)
    }
}

pub(crate) fn encode_record(record: &Record) -> Result<Vec<u8>, EncodeError> {
    codec::encode(Kind::AnsweredRow, ANSWERED_FORMAT, record)
}

pub(crate) fn decode_record(row: &[u8]) -> Result<Record, DecodeError> {
    codec::decode(Kind::AnsweredRow, ANSWERED_FORMAT, row)
}

pub(crate) fn encode_roster(roster: &Roster) -> Result<Vec<u8>, EncodeError> {
    codec::encode(Kind::RosterRow, ROSTER_FORMAT, roster)
}

pub(crate) fn decode_roster(row: &[u8]) -> Result<Roster, DecodeError> {
    codec::decode(Kind::RosterRow, ROSTER_FORMAT, row)
}

pub(crate) fn encode_update(update: &StoredUpdate) -> Result<Vec<u8>, EncodeError> {
    let StoredUpdate { revision, event, cause, session } = update.clone();
    codec::encode(Kind::UpdateRow, UPDATE_FORMAT, &UpdateRowV1 { revision, event, cause, session })
}

pub(crate) fn decode_update(row: &[u8]) -> Result<StoredUpdate, DecodeError> {
    let UpdateRowV1 { revision, event, cause, session } =
        codec::decode(Kind::UpdateRow, UPDATE_FORMAT, row)?;
    Ok(StoredUpdate { revision, event, cause, session })
}

/// Sorts as sessions do, and within one as its versions do.
pub(crate) fn update_key(
    session: SessionId,
    version: u64,
    revision: u64,
) -> [u8; UPDATE_KEY_BYTES] {
    let mut key = [0; UPDATE_KEY_BYTES];
    key[..SESSION_KEY_BYTES].copy_from_slice(&session.to_key());
    key[SESSION_KEY_BYTES..SESSION_KEY_BYTES + 8].copy_from_slice(&version.to_be_bytes());
    key[SESSION_KEY_BYTES + 8..].copy_from_slice(&revision.to_be_bytes());
    key
}

/// The version and the revision in a key; `None` for bytes that are none.
pub(crate) fn read_update_key(key: &[u8]) -> Option<(&[u8], u64, u64)> {
    let (session, rest) = key.split_at_checked(SESSION_KEY_BYTES)?;
    let (version, revision) = rest.split_at_checked(8)?;
    let version = u64::from_be_bytes(version.try_into().ok()?);
    let revision = u64::from_be_bytes(revision.try_into().ok()?);
    Some((session, version, revision))
}
