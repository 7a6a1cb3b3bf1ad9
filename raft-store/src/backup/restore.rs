//! Beginning a new cluster with the state of a backup.
//!
//! What is made is the data directory of a node that has taken a snapshot at the backup's revision
//! and purged its log up to there. It is made beside its place and moved there when it is whole.

use std::{
    collections::BTreeMap,
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
/// What the directory is called until it is whole.
const UNFINISHED: &str = "restoring";

/// The node that begins the new cluster, and who belongs to that.
#[derive(Clone, Debug)]
pub struct Place {
    /// Empty, or not there yet.
    pub data_dir: PathBuf,
    pub identity: Identity,
    /// All voters of the new cluster; those besides this one start without data.
    pub members: BTreeMap<u64, PeerNode>,
}

/// Makes the data directory of the first node of a new cluster, whose state is that of the backup.
///
/// The ids of the new cluster's nodes have nothing to do with those of the old one. Positions in
/// the log go on from the backup's.
///
/// # Errors
/// [`BackupError`]; nothing is left then.
pub fn restore(backup: &Path, place: &Place) -> Result<ManifestV1, BackupError> {
    let Begun { manifest, .. } = read::begin(backup)?;
    check(&manifest, place)?;
    let data_dir = std::path::absolute(&place.data_dir)
        .map_err(|source| BackupError::Io { path: place.data_dir.clone(), source })?;
    let unfinished = unfinished(&data_dir);
    remove(&unfinished)?;
    let made = fill(backup, place, &unfinished).and_then(|manifest| {
        let io = |source| BackupError::Io { path: data_dir.clone(), source };
        layout::rename_durably(&unfinished, &data_dir).map_err(io)?;
        Ok(manifest)
    });
    if made.is_err() {
        // The first reason is the one to tell.
        let _ = remove(&unfinished);
    }
    made
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
    match fs::read_dir(path) {
        Ok(mut files) => match files.next() {
            Some(_) => Err(BackupError::NotEmpty { path: path.clone() }),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BackupError::Io { path: path.clone(), source }),
    }
}

fn unfinished(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    data_dir.with_file_name(name)
}

fn remove(directory: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BackupError::Io { path: directory.to_owned(), source }),
    }
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
