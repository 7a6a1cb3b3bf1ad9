//! What must hold between settings before a node may start.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Config, HOME_FILE};

/// The configuration contradicts itself. The message says what to change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("node.id is not set; give this node a number from 1 that no other node has")]
    NoNodeId,
    #[error(
        "{}, so no node lives there; make one with `synckairos cluster init` or `synckairos cluster \
         join`, or name a configuration with --config. Where a node did live there, its data is \
         lost: it must not begin anew under its old id, let the machine join as a new node in its \
         place (`synckairos cluster replace`)",
        no_home(dir)
    )]
    NoHome { dir: PathBuf },
    #[error("node.data_dir is not set; name a directory that this node alone writes to")]
    NoDataDir,
    #[error("cluster.id is {0:?}; it must be a UUID in lower case, the same on every node")]
    ClusterId(String),
    #[error("cluster.members names node {0} twice; every node needs an id of its own")]
    TwoWithOneId(u64),
    #[error("cluster.members gives {0} to two nodes; every node needs an address of its own")]
    TwoAtOneAddress(String),
    #[error("cluster.members does not name node {0}; add this node to the list")]
    NotAMember(u64),
    #[error("cluster.members has {0} nodes; a cluster is founded by 1, 3, 5 or 7")]
    MemberCount(usize),
    #[error("{key} is 0; it must be 1 or more, and without backup.directory no backups are made")]
    NoBackups { key: &'static str },
    #[error(
        "{key} is not set; `synckairos tls issue` makes it, and `synckairos cluster init` and \
         `join` make all that a node needs"
    )]
    NoFile { key: &'static str },
    #[error("{key} is {path}, which does not exist; check the path")]
    Missing { key: &'static str, path: PathBuf },
}

fn no_home(dir: &Path) -> String {
    let what = if dir.is_dir() { "there is no" } else { "there is no directory for" };
    format!("{what} {}", dir.join(HOME_FILE).display())
}

impl Config {
    pub(super) fn check(&self) -> Result<(), CheckError> {
        if self.node.id == 0 {
            return Err(CheckError::NoNodeId);
        }
        if self.node.data_dir.as_os_str().is_empty() {
            return Err(CheckError::NoDataDir);
        }
        self.check_cluster()?;
        self.check_backups()?;
        let files = [
            ("peer.ca", &self.peer.ca),
            ("peer.certificate", &self.peer.certificate),
            ("peer.key", &self.peer.key),
        ];
        for (key, path) in files {
            if path.as_os_str().is_empty() {
                return Err(CheckError::NoFile { key });
            }
            if !path.exists() {
                return Err(CheckError::Missing { key, path: path.clone() });
            }
        }
        match &self.peer.ca_key {
            Some(path) if !path.exists() => {
                Err(CheckError::Missing { key: "peer.ca_key", path: path.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_backups(&self) -> Result<(), CheckError> {
        if self.backup.interval_seconds == 0 {
            return Err(CheckError::NoBackups { key: "backup.interval_seconds" });
        }
        if self.backup.keep == 0 {
            return Err(CheckError::NoBackups { key: "backup.keep" });
        }
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), CheckError> {
        let id = &self.cluster.id;
        if uuid::Uuid::parse_str(id).map_or(true, |parsed| parsed.to_string() != *id) {
            return Err(CheckError::ClusterId(id.clone()));
        }
        if self.cluster.members.is_empty() {
            // It founds no cluster: it joined one, and is told who belongs to it.
            return Ok(());
        }
        let mut ids = BTreeSet::new();
        // UDP and TCP: a node may have both under one number.
        let (mut peers, mut clients) = (BTreeSet::new(), BTreeSet::new());
        for member in &self.cluster.members {
            if !ids.insert(member.id) {
                return Err(CheckError::TwoWithOneId(member.id));
            }
            if !peers.insert(&member.peer) {
                return Err(CheckError::TwoAtOneAddress(member.peer.clone()));
            }
            if !clients.insert(&member.http) {
                return Err(CheckError::TwoAtOneAddress(member.http.clone()));
            }
        }
        if !ids.contains(&self.node.id) {
            return Err(CheckError::NotAMember(self.node.id));
        }
        if !matches!(ids.len(), 1 | 3 | 5 | 7) {
            return Err(CheckError::MemberCount(ids.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemberConfig;

    fn member(id: u64, port: u16) -> MemberConfig {
        let address = |port: u16| format!("127.0.0.1:{port}");
        MemberConfig { id, peer: address(port), http: address(port + 1) }
    }

    fn three() -> Config {
        let mut config = Config::default();
        config.node.id = 1;
        config.cluster.id = String::from("0192f0c4-5b7a-7c31-9f6e-3f3a3f0f7a10");
        config.cluster.members = vec![member(1, 10), member(2, 20), member(3, 30)];
        config
    }

    #[test]
    fn backups_that_cannot_be_made_are_refused() {
        let mut config = three();
        assert_eq!(config.check_backups(), Ok(()));
        config.backup.keep = 0;
        let expected = CheckError::NoBackups { key: "backup.keep" };
        assert_eq!(config.check_backups(), Err(expected));
        config.backup.interval_seconds = 0;
        let expected = CheckError::NoBackups { key: "backup.interval_seconds" };
        assert_eq!(config.check_backups(), Err(expected));
    }

    #[test]
    fn a_cluster_that_cannot_work_is_refused() {
        assert_eq!(three().check_cluster(), Ok(()));
        let refused = |change: fn(&mut Config), expected: CheckError| {
            let mut config = three();
            change(&mut config);
            assert_eq!(config.check_cluster(), Err(expected));
        };
        refused(|config| config.cluster.members[2].id = 2, CheckError::TwoWithOneId(2));
        refused(
            |config| config.cluster.members[2].peer = String::from("127.0.0.1:10"),
            CheckError::TwoAtOneAddress(String::from("127.0.0.1:10")),
        );
        refused(|config| config.node.id = 4, CheckError::NotAMember(4));
        refused(|config| drop(config.cluster.members.pop()), CheckError::MemberCount(2));
        refused(
            |config| config.cluster.id = String::from("mine"),
            CheckError::ClusterId(String::from("mine")),
        );
        refused(
            |config| {
                config.cluster.members.clear();
                config.cluster.id = String::new();
            },
            CheckError::ClusterId(String::new()),
        );
    }

    #[test]
    fn a_node_that_joined_names_no_members() {
        let mut config = three();
        config.cluster.members.clear();
        assert_eq!(config.check_cluster(), Ok(()));
    }

    #[test]
    fn the_authoritys_key_is_there_where_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let mut config = three();
        config.node.data_dir = directory.path().to_owned();
        config.peer.ca = file("ca.crt");
        config.peer.certificate = file("node.crt");
        config.peer.key = file("node.key");
        assert_eq!(config.check(), Ok(()));
        config.peer.ca_key = Some(file("ca.key"));
        assert_eq!(config.check(), Ok(()));
        let path = directory.path().join("nowhere.key");
        config.peer.ca_key = Some(path.clone());
        assert_eq!(config.check(), Err(CheckError::Missing { key: "peer.ca_key", path }));
    }
}
