//! Turning a snapshot into a state database of its own, beside the one in use.

use std::io;

use synckairos_protocol::{machine::Machine, session::Session};

use super::format::{HeaderV1, Reader, SnapshotError};
use crate::{
    layout::Layout,
    raft_types::{SnapshotFile, SnapshotMeta},
    state::db::{StateDb, StateMetaV1},
};

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// State that is on disk and in memory, and in use nowhere yet.
pub(crate) struct Imported {
    pub(crate) db: StateDb,
    pub(crate) machine: Machine,
    pub(crate) meta: StateMetaV1,
}

/// Reads the snapshot into the state database of this number, and syncs it. Where any part of the
/// snapshot is not right, nothing of it stays.
pub(crate) fn import(
    snapshot: &SnapshotFile,
    expected: &SnapshotMeta,
    layout: &Layout,
    number: u64,
) -> Result<Imported, SnapshotError> {
    let db = StateDb::create(layout, number)?;
    match fill(&db, snapshot, expected) {
        Ok((machine, meta)) => Ok(Imported { db, machine, meta }),
        Err(error) => {
            db.retire();
            Err(error)
        }
    }
}

fn fill(
    db: &StateDb,
    snapshot: &SnapshotFile,
    expected: &SnapshotMeta,
) -> Result<(Machine, StateMetaV1), SnapshotError> {
    let input = io::BufReader::with_capacity(READ_BUFFER_BYTES, snapshot.blocking_reader()?);
    let (header, mut reader) = Reader::begin(input)?;
    check_position(&header, expected)?;
    let mut sessions: Vec<Session> = Vec::new();
    while let Some(rows) = reader.next()? {
        db.import_rows(&rows)?;
        sessions.extend(rows.into_iter().map(|(session, _)| session));
    }
    let meta = StateMetaV1 {
        last_applied: header.meta.last_log_id,
        membership: header.meta.membership,
        now: header.now,
        sessions: header.sessions,
    };
    db.import_meta(&meta)?;
    Ok((Machine::restore(header.now, sessions), meta))
}

fn check_position(header: &HeaderV1, expected: &SnapshotMeta) -> Result<(), SnapshotError> {
    let actual: SnapshotMeta = header.meta.clone().try_into().map_err(io::Error::other)?;
    if actual == *expected {
        return Ok(());
    }
    Err(SnapshotError::OtherPosition {
        actual: actual.to_string(),
        announced: expected.to_string(),
    })
}
