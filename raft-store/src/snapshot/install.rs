//! Turning a snapshot into a state database of its own, beside the one in use.

use std::io;

use synckairos_protocol::{
    answered::Answered,
    machine::{Machine, Parts},
};

use super::format::{Header, ReadRow, Reader, SnapshotError};
use crate::{
    layout::Layout,
    raft_types::{SnapshotFile, SnapshotMeta},
    state::{
        db::{StateDb, roster_of},
        meta::StateMeta,
    },
};

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// State that is on disk and in memory, and in use nowhere yet.
pub(crate) struct Imported {
    pub(crate) db: StateDb,
    pub(crate) machine: Machine,
    pub(crate) meta: StateMeta,
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
) -> Result<(Machine, StateMeta), SnapshotError> {
    let input = io::BufReader::with_capacity(READ_BUFFER_BYTES, snapshot.blocking_reader()?);
    let (header, mut reader) = Reader::begin(input)?;
    check_position(&header, expected)?;
    let (mut sessions, mut records) = (Vec::new(), Vec::new());
    while let Some(rows) = reader.next()? {
        db.import_rows(&rows)?;
        for (row, _) in rows {
            match row {
                ReadRow::Session(session) => sessions.push(*session),
                ReadRow::Answered(_, record) => records.push(record),
                ReadRow::Update(_) => {}
            }
        }
    }
    let meta = header.state_meta();
    let machine = Machine::from_parts(Parts {
        now: meta.now,
        level: meta.level,
        sessions,
        answered: Answered::restore(meta.answered_first, records),
        roster: header.roster.unwrap_or_else(|| roster_of(&meta)),
    });
    db.import_rest(&meta, &machine)?;
    Ok((machine, meta))
}

fn check_position(header: &Header, expected: &SnapshotMeta) -> Result<(), SnapshotError> {
    let actual: SnapshotMeta = header.meta.clone().try_into().map_err(io::Error::other)?;
    if actual == *expected {
        return Ok(());
    }
    Err(SnapshotError::OtherPosition {
        actual: actual.to_string(),
        announced: expected.to_string(),
    })
}
