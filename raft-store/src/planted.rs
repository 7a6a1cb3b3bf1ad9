//! What planted bugs do here that takes more than a line; see `synckairos_protocol::plant`.

use openraft::EntryPayload;
use synckairos_protocol::{plant::Plant, session::Session};

use crate::{
    raft_types::Entry,
    rocks,
    snapshot::format::Header,
    state::{StateError, view::View},
};

/// Every so many answers one is forgotten.
const FORGOTTEN_EVERY: u64 = 7;

/// What a snapshot says of rows that [`is_left_out`] leaves it.
pub(crate) fn header(mut header: Header) -> Header {
    if Plant::SnapshotLosesSession.is_on() {
        header.sessions = header.sessions.saturating_sub(1);
    }
    if Plant::SnapshotForgetsKey.is_on() {
        header.answered -= header.answered / FORGOTTEN_EVERY;
    }
    header
}

/// Is the row with this number, counted from 1, left out of a snapshot?
pub(crate) fn is_left_out(family: &str, number: u64) -> bool {
    match family {
        rocks::SESSIONS => Plant::SnapshotLosesSession.is_on() && number == 1,
        rocks::ANSWERED => {
            Plant::SnapshotForgetsKey.is_on() && number.is_multiple_of(FORGOTTEN_EVERY)
        }
        _ => false,
    }
}

/// Entries that are applied as one, with the time read once for all of them.
pub(crate) fn at_one_time(entries: &[Entry]) -> Vec<Entry> {
    let mut entries = entries.to_vec();
    if !Plant::DivergentApply.is_on() || entries.len() < 2 {
        return entries;
    }
    let mut commands: Vec<_> = entries
        .iter_mut()
        .filter_map(|entry| match &mut entry.payload {
            EntryPayload::Normal(batch) => Some(&mut batch.commands),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        })
        .flatten()
        .collect();
    let last = commands.iter().map(|stamped| stamped.stamp).max().unwrap_or_default();
    for stamped in &mut commands {
        stamped.stamp = last;
    }
    entries
}

/// Reads the session that changed last as it was before.
pub(crate) fn put_back_newest(view: &View<'_>, sessions: &mut [Session]) -> Result<(), StateError> {
    let newest = sessions.iter_mut().max_by_key(|session| session.updated_at);
    let newest = newest.filter(|_| Plant::VersionGoesBackAfterRestart.is_on());
    let Some(newest) = newest.filter(|session| 1 < session.version) else { return Ok(()) };
    let updates = view.updates_after(newest.id, newest.version - 2, None)?;
    if let Some([before, _]) = updates.as_deref() {
        *newest = Session::clone(&before.session);
    }
    Ok(())
}
