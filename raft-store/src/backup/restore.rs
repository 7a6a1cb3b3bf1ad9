//! Beginning a new cluster with the state of a backup.
//!
//! What is made is the data directory of a node that has taken a snapshot at the backup's revision
//! and purged its log up to there. It is made in a directory within its place, so that the place
//! may be a file system of its own, and moved up when it is whole: the log first, because a log
//! that begins in the middle is never opened without the state that it needs.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use synckairos_protocol::{machine::LEVEL_OLDEST, roster::Roster};

use super::{
    BackupError, ManifestV1,
    read::{self, Begun},
};
use crate::{
    identity::Identity,
    layout::{self, Layout},
    log,
    raft_types::{LogId, PeerNode, Vote},
    snapshot::{
        format::{Header, Writer},
        shelf,
    },
    wire::{LogIdV1, MembershipV1, NodeV1, StoredMembershipV1},
};

const WRITE_BUFFER_BYTES: usize = 256 * 1024;
/// Where it is made until it is whole.
const UNFINISHED: &str = "restoring";
/// A new file system is not empty.
const LOST_AND_FOUND: &str = "lost+found";

/// The node that begins the new cluster, and who belongs to that.
#[derive(Clone, Debug)]
pub struct Place {
    /// Empty, or not there yet.
    pub data_dir: PathBuf,
    pub identity: Identity,
    /// All voters of the new cluster; those besides this one start without data.
    pub members: BTreeMap<u64, PeerNode>,
}

/// Makes the data directory of the first node of a new cluster, whose state is that of the backup,
/// and has `furnish` put there what else the node needs.
///
/// The ids of the new cluster's nodes have nothing to do with those of the old one. Positions in
/// the log go on from the backup's.
///
/// # Errors
/// [`BackupError`], or what `furnish` says; nothing is left then.
pub fn restore<E: From<BackupError>>(
    backup: &Path,
    place: &Place,
    furnish: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<ManifestV1, E> {
    let Begun { manifest, .. } = read::begin(backup)?;
    check(&manifest, place)?;
    let existed = place.data_dir.exists();
    let made = make(backup, place)
        .map_err(E::from)
        .and_then(|manifest| furnish(&place.data_dir).map(|()| manifest));
    if made.is_err() {
        // The first reason is the one to tell.
        let _ = clear(&place.data_dir);
        if !existed {
            let _ = fs::remove_dir(&place.data_dir);
        }
    }
    made
}

fn make(backup: &Path, place: &Place) -> Result<ManifestV1, BackupError> {
    let data_dir = &place.data_dir;
    // What an interrupted attempt left there.
    clear(data_dir)?;
    let unfinished = data_dir.join(UNFINISHED);
    let manifest = fill(backup, place, &unfinished)?;
    move_up(&unfinished, data_dir)
        .map_err(|source| BackupError::Io { path: data_dir.clone(), source })?;
    Ok(manifest)
}

fn check(manifest: &ManifestV1, place: &Place) -> Result<(), BackupError> {
    if manifest.origin.cluster == place.identity.cluster {
        return Err(BackupError::SameCluster(manifest.origin.cluster.clone()));
    }
    let node = place.identity.node;
    let founder = place.members.keys().next().copied().unwrap_or(node);
    if founder != node {
        return Err(BackupError::NotTheFounder { node, founder });
    }
    let path = &place.data_dir;
    let io = |source| BackupError::Io { path: path.clone(), source };
    let found = names(path).map_err(io)?;
    if found.iter().any(|name| name != UNFINISHED) {
        return Err(BackupError::NotEmpty { path: path.clone() });
    }
    Ok(())
}

/// What is in a directory, which need not exist.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = files.map(|file| file.map(|file| file.file_name()));
    let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    names.retain(|name| name != LOST_AND_FOUND);
    names.sort();
    Ok(names)
}

/// Removes what is in a directory that was empty, or held an interrupted attempt.
fn clear(directory: &Path) -> Result<(), BackupError> {
    let remove = |path: &Path| {
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    };
    let cleared = names(directory)
        .and_then(|names| names.iter().try_for_each(|name| remove(&directory.join(name))));
    cleared.map_err(|source| BackupError::Io { path: directory.to_owned(), source })
}

fn move_up(unfinished: &Path, data_dir: &Path) -> io::Result<()> {
    let (log, mut others) = (OsString::from(layout::RAFT), names(unfinished)?);
    others.retain(|name| *name != log);
    for name in [log].iter().chain(&others) {
        layout::rename_durably(&unfinished.join(name), &data_dir.join(name))?;
    }
    fs::remove_dir(unfinished)?;
    layout::sync_directory(data_dir)
}

fn fill(backup: &Path, place: &Place, directory: &Path) -> Result<ManifestV1, BackupError> {
    let layout = Layout::create(directory)?;
    let Begun { manifest, header, mut reader } = read::begin(backup)?;
    let position = header.meta.last_log_id.ok_or(BackupError::Nothing)?;
    let header = header_for(header, position, &place.members);
    let (partial, path) = shelf::places(&layout, position);

    let io = |source| BackupError::Io { path: partial.clone(), source };
    let file = fs::File::create(&partial).map_err(io)?;
    let output = io::BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
    let mut writer = Writer::begin(output, &header).map_err(BackupError::Write)?;
    while let Some(rows) = reader.next().map_err(|error| read::unreadable(backup, error))? {
        for (_, row) in rows {
            writer.row(&row).map_err(BackupError::Write)?;
        }
    }
    let output = writer.finish().map_err(BackupError::Write)?;
    let file = output.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    layout::rename_durably(&partial, &path).map_err(io)?;

    // The term is one in which nobody votes again.
    let vote = Vote::new(position.term, place.identity.node);
    log::found(&layout, &place.identity, LogId::from(position), &vote)?;
    place.identity.write_file(&layout)?;
    let path = layout.to_be_founded();
    layout::replace_file(&path, &[]).map_err(|source| BackupError::Io { path, source })?;
    Ok(manifest)
}

/// The backup's state, with the new cluster's members at its position.
fn header_for(header: Header, position: LogIdV1, members: &BTreeMap<u64, PeerNode>) -> Header {
    let nodes = members.iter().map(|(id, node)| NodeV1 {
        id: *id,
        peer: node.peer.clone(),
        http: node.http.clone(),
    });
    let membership =
        MembershipV1 { configs: vec![members.keys().copied().collect()], nodes: nodes.collect() };
    let mut header = header;
    header.meta.membership = StoredMembershipV1 { log_id: Some(position), membership };
    if LEVEL_OLDEST < header.level {
        header.roster = Some(Roster::of_members(members.keys().copied()));
    }
    header
}
