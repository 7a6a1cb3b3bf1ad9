//! Writing a backup while the state moves on.

use std::io::Write;

use synckairos_protocol::codec::{self, Kind};

use super::{BackupError, MANIFEST_FORMAT, ManifestV1, Origin};
use crate::{
    rocks,
    snapshot::format::{Header, Writer},
    state::Applied,
};

/// Writes the state as it is now, and says what it is. Blocks for as long as the output takes; the
/// node goes on meanwhile.
///
/// # Errors
/// [`BackupError`]; what was written until then is no backup.
pub fn create<W: Write>(
    applied: &Applied,
    origin: Origin,
    mut output: W,
) -> Result<(ManifestV1, W), BackupError> {
    let db = applied.database();
    let view = db.view();
    let meta = view.meta()?;
    let Some(last_applied) = meta.last_applied else { return Err(BackupError::Nothing) };
    let manifest = ManifestV1 {
        origin,
        revision: last_applied.index,
        cluster_time: meta.now,
        level: meta.level,
        sessions: meta.sessions,
        answers: meta.answered,
    };
    let header = Header::of(meta, view.roster()?);
    let envelope = codec::encode(Kind::BackupManifest, MANIFEST_FORMAT, &manifest)?;
    output.write_all(&envelope).map_err(|error| BackupError::Write(error.into()))?;
    let mut writer = Writer::begin(output, &header).map_err(BackupError::Write)?;
    for family in header.families().iter().filter(|family| **family != rocks::UPDATES) {
        view.for_each(family, |_, row| writer.row(row)).map_err(BackupError::Write)?;
    }
    let output = writer.finish().map_err(BackupError::Write)?;
    Ok((manifest, output))
}
