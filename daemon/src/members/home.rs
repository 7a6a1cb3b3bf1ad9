//! The directory of a node that the program itself lays out: everything that
//! `synckairos serve --data-dir` needs.
//!
//! ```text
//! DIR/node.toml    written last: a directory with this file in it is complete
//! DIR/tls/         ca.crt ca.key node.crt node.key
//! ```
//!
//! The node's data comes to lie beside them.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::address::Address;
use crate::{
    config::{
        ClusterConfig, HOME_FILE, MemberConfig, NodeConfig, PeerConfig,
        file::{HttpFile, NodeFile},
    },
    pki::{
        CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, NODE_KEY, NodeName, PkiError,
        ca::ClusterCa,
        files::{self, Secrecy},
        identity::{IdentityFiles, PeerIdentity},
        request::NodeKey,
    },
};

const TLS_DIRECTORY: &str = "tls";
/// What may lie in the latter where a node has not finished joining.
const TLS_FILES: [&str; 4] = [CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, NODE_KEY];

/// Where a node is reached, and where it listens for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Where other nodes reach it, UDP.
    pub(crate) peer: Address,
    /// Where clients reach it.
    pub(crate) http: Address,
    pub(crate) peer_listen: SocketAddr,
    pub(crate) http_listen: SocketAddr,
}

/// The directory cannot become a node's home. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error("{path}: {source}; check that the directory is yours to write")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{0} is not empty; name a directory that is empty or does not exist yet (one without \
         {HOME_FILE} that an earlier try left behind can be removed)"
    )]
    NotEmpty(PathBuf),
    #[error(
        "{dir} is the home of a node already; start it with `synckairos serve --data-dir {dir}`, \
         or name another directory", dir = dir.display()
    )]
    Taken { dir: PathBuf },
    #[error("{path} cannot be written as TOML: {reason}; choose a path that is plain text")]
    Toml { path: PathBuf, reason: String },
    #[error(
        "the cluster answered with certificates that do not fit each other ({0}); repeat the \
         command, and look at the log of the node that answered if that does not help"
    )]
    Unfit(PkiError),
    #[error("the cluster answered with another authority than the token names; make a new token")]
    OtherAuthority,
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// A directory on its way to be a node's home.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

/// What a cluster gives a node that it lets in; PEM.
pub(crate) struct Papers {
    pub(crate) certificate: String,
    pub(crate) ca: String,
    pub(crate) ca_key: String,
}

impl Home {
    /// A directory for a new cluster: empty, or not there yet.
    ///
    /// # Errors
    /// [`HomeError::NotEmpty`], [`HomeError::Taken`] or [`HomeError::Io`].
    pub(crate) fn empty(dir: &Path) -> Result<Self, HomeError> {
        let home = Self::at(dir)?;
        if entries(&home.dir)?.is_empty() { Ok(home) } else { Err(HomeError::NotEmpty(home.dir)) }
    }

    /// A directory for a node that joins: empty, not there yet, or begun by an earlier try.
    ///
    /// # Errors
    /// [`HomeError::NotEmpty`], [`HomeError::Taken`] or [`HomeError::Io`].
    pub(crate) fn begun(dir: &Path) -> Result<Self, HomeError> {
        let home = Self::at(dir)?;
        let only = |dir: &Path, ours: &[&str]| {
            let entries = entries(dir)?;
            Ok::<bool, HomeError>(entries.iter().all(|name| {
                let whole = name.strip_suffix(files::PARTIAL).unwrap_or(name);
                ours.contains(&whole)
            }))
        };
        if only(&home.dir, &[TLS_DIRECTORY, HOME_FILE])? && only(&home.tls(), &TLS_FILES)? {
            Ok(home)
        } else {
            Err(HomeError::NotEmpty(home.dir))
        }
    }

    /// Lays out a new cluster's first node in `dir`, which may hold its data already: a new
    /// authority, the node's certificate, and a configuration in which it founds the cluster alone.
    ///
    /// # Errors
    /// [`HomeError`]; [`HomeError::Taken`] where a node has its home there.
    pub(crate) fn lay_out(
        dir: &Path,
        name: NodeName,
        places: &Places,
        now: SystemTime,
    ) -> Result<(), HomeError> {
        let home = Self::at(dir)?;
        let tls = home.make_tls()?;
        let ca = ClusterCa::create(name.cluster, now)?;
        ca.save(&tls)?;
        ca.issue_node(name.node, now)?.save(&tls)?;
        let Places { peer, http, .. } = places;
        let (peer, http) = (peer.to_string(), http.to_string());
        home.finish(name, places, vec![MemberConfig { id: name.node, peer, http }])
    }

    /// The key of the node that is to be, made once and then kept.
    ///
    /// # Errors
    /// [`HomeError`].
    pub(crate) fn key(&self) -> Result<NodeKey, HomeError> {
        let key = NodeKey::load_or_create(&self.make_tls()?.join(NODE_KEY))?;
        sync(&self.tls())?;
        Ok(key)
    }

    /// Keeps what the cluster gave this node, checks that it is of use, and completes the home of
    /// a node that joins.
    ///
    /// # Errors
    /// [`HomeError`].
    pub(crate) fn move_in(
        &self,
        name: NodeName,
        pin: &[u8; 32],
        papers: &Papers,
        places: &Places,
    ) -> Result<(), HomeError> {
        let tls = self.make_tls()?;
        for (file, pem, secrecy) in [
            (CA_CERTIFICATE, &papers.ca, Secrecy::Public),
            (CA_KEY, &papers.ca_key, Secrecy::Private),
            (NODE_CERTIFICATE, &papers.certificate, Secrecy::Public),
        ] {
            files::replace(&tls.join(file), pem.as_bytes(), secrecy)?;
        }
        if ClusterCa::load(&tls).map_err(HomeError::Unfit)?.pin() != *pin {
            return Err(HomeError::OtherAuthority);
        }
        let files = IdentityFiles::in_directory(&tls);
        PeerIdentity::load(&files, SystemTime::now())
            .and_then(|identity| identity.require_name(name))
            .map_err(HomeError::Unfit)?;
        self.finish(name, places, Vec::new())
    }

    fn at(dir: &Path) -> Result<Self, HomeError> {
        let dir = std::path::absolute(dir).map_err(io_at(dir))?;
        if dir.join(HOME_FILE).exists() {
            return Err(HomeError::Taken { dir });
        }
        Ok(Self { dir })
    }

    fn tls(&self) -> PathBuf {
        self.dir.join(TLS_DIRECTORY)
    }

    fn make_tls(&self) -> Result<PathBuf, HomeError> {
        let tls = self.tls();
        fs::create_dir_all(&tls).map_err(io_at(&tls))?;
        Ok(tls)
    }

    /// Writes the configuration, once everything else is on the disk.
    fn finish(
        &self,
        name: NodeName,
        places: &Places,
        members: Vec<MemberConfig>,
    ) -> Result<(), HomeError> {
        let tls = self.tls();
        let IdentityFiles { ca, certificate, key } = IdentityFiles::in_directory(&tls);
        let (listen, ca_key) = (places.peer_listen, Some(tls.join(CA_KEY)));
        let file = NodeFile {
            node: NodeConfig { id: name.node, data_dir: self.dir.clone() },
            cluster: ClusterConfig { id: name.cluster.to_string(), members },
            peer: PeerConfig { listen, ca, certificate, key, ca_key },
            http: HttpFile { listen: places.http_listen },
        };
        let path = self.dir.join(HOME_FILE);
        let text = file
            .to_toml()
            .map_err(|error| HomeError::Toml { path: path.clone(), reason: error.to_string() })?;
        sync(&tls)?;
        files::replace(&path, text.as_bytes(), Secrecy::Public)?;
        sync(&self.dir)
    }
}

/// The names in a directory; none where there is no directory.
fn entries(dir: &Path) -> Result<Vec<String>, HomeError> {
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(io_at(dir))
    };
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(name).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_at(dir)(error)),
    }
}

/// Makes the names in a directory as durable as the files behind them.
fn sync(dir: &Path) -> Result<(), HomeError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> HomeError + use<> {
    let path = path.to_owned();
    move |source| HomeError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        config::{self, Config, Flags},
        pki::{ClusterId, request::NodeRequest},
    };

    fn places() -> Places {
        let (peer, http): (Address, Address) =
            ("10.0.0.1:7400".parse().unwrap(), "node.example:3000".parse().unwrap());
        let (peer_listen, http_listen) = (peer.listen(), http.listen());
        Places { peer, http, peer_listen, http_listen }
    }

    fn name(node: u64) -> NodeName {
        NodeName { cluster: ClusterId::random(), node }
    }

    /// As `serve --data-dir` reads it.
    fn config_in(dir: &TempDir) -> Config {
        let data_dir = Some(dir.path().to_owned());
        config::load(None, &Flags { data_dir, ..Flags::default() }).unwrap()
    }

    fn identity_of(config: &Config) -> PeerIdentity {
        let peer = config.peer.clone();
        let files = IdentityFiles { ca: peer.ca, certificate: peer.certificate, key: peer.key };
        PeerIdentity::load(&files, SystemTime::now()).unwrap()
    }

    fn authority_of(config: &Config) -> ClusterCa {
        ClusterCa::load_files(&config.peer.ca, config.peer.ca_key.as_ref().unwrap()).unwrap()
    }

    /// What a cluster gives the node that has this home.
    fn papers(ca: &ClusterCa, home: &Home, node: u64) -> Papers {
        let request = NodeRequest::read(&home.key().unwrap().request().unwrap()).unwrap();
        Papers {
            certificate: ca.sign_request(node, &request, SystemTime::now()).unwrap(),
            ca: ca.certificate_pem().to_owned(),
            ca_key: ca.key_pem(),
        }
    }

    #[test]
    fn a_first_node_founds_its_cluster_alone() {
        let (dir, name) = (tempfile::tempdir().unwrap(), name(1));
        assert!(Home::empty(dir.path()).is_ok());
        // Restored data may lie there.
        fs::create_dir(dir.path().join("raft")).unwrap();
        assert!(matches!(Home::empty(dir.path()), Err(HomeError::NotEmpty(_))));
        Home::lay_out(dir.path(), name, &places(), SystemTime::now()).unwrap();

        let config = config_in(&dir);
        assert_eq!(config.cluster.id, name.cluster.to_string());
        let (peer, http) = (String::from("10.0.0.1:7400"), String::from("node.example:3000"));
        assert_eq!(config.cluster.members, [MemberConfig { id: 1, peer, http }]);
        assert_eq!(config.peer.listen.to_string(), "10.0.0.1:7400");
        assert_eq!(config.http.listen.to_string(), "0.0.0.0:3000");
        assert_eq!(config.node.data_dir, dir.path());
        assert_eq!(identity_of(&config).name, name);
        assert_eq!(authority_of(&config).cluster(), name.cluster);
        for secret in ["ca.key", "node.key"] {
            let mode = fs::metadata(dir.path().join("tls").join(secret)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{secret}");
        }
        for again in [
            Home::lay_out(dir.path(), name, &places(), SystemTime::now()),
            Home::empty(dir.path()).map(|_| ()),
            Home::begun(dir.path()).map(|_| ()),
        ] {
            let refused = again.unwrap_err();
            assert!(matches!(refused, HomeError::Taken { .. }), "{refused}");
        }
    }

    #[test]
    fn a_node_that_joins_goes_on_where_it_was_interrupted() {
        let ca = ClusterCa::create(ClusterId::random(), SystemTime::now()).unwrap();
        let name = NodeName { cluster: ca.cluster(), node: 4 };
        let dir = tempfile::tempdir().unwrap();
        let dir_is = |path: &str| Home::begun(&dir.path().join(path));
        assert!(dir_is("absent").is_ok());
        let home = dir_is("").unwrap();
        home.key().unwrap();
        let key_file = dir.path().join("tls/node.key");
        let key = fs::read(&key_file).unwrap();
        // Stopped there, with files half written.
        for file in ["tls/ca.key.partial", "node.toml.partial"] {
            fs::write(dir.path().join(file), "half").unwrap();
        }
        let home = dir_is("").unwrap();
        let papers = papers(&ca, &home, 4);
        home.move_in(name, &ca.pin(), &papers, &places()).unwrap();
        assert_eq!(fs::read(&key_file).unwrap(), key, "the key that it asked with");

        let config = config_in(&dir);
        assert!(config.cluster.members.is_empty());
        assert_eq!(identity_of(&config).name, name);
        assert_eq!(authority_of(&config).pin(), ca.pin());
        assert!(matches!(dir_is(""), Err(HomeError::Taken { .. })));
    }

    #[test]
    fn what_somebody_else_put_there_is_left_alone() {
        for path in ["notes.txt", "tls/notes.txt"] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("tls")).unwrap();
            fs::write(dir.path().join(path), "mine").unwrap();
            let refused = Home::begun(dir.path()).unwrap_err();
            assert!(matches!(refused, HomeError::NotEmpty(_)), "{path}: {refused}");
        }
    }

    #[test]
    fn papers_that_do_not_fit_complete_no_home() {
        let cluster = ClusterId::random();
        let now = SystemTime::now();
        let (ca, other) =
            (ClusterCa::create(cluster, now).unwrap(), ClusterCa::create(cluster, now).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let home = Home::begun(dir.path()).unwrap();
        let good = || papers(&ca, &home, 4);
        let another_key = ca.issue_node(4, now).unwrap().certificate_pem;
        let table = [
            (Papers { certificate: another_key, ..good() }, ca.pin()),
            (Papers { ca_key: other.key_pem(), ..good() }, ca.pin()),
            (papers(&ca, &home, 5), ca.pin()),
            (good(), other.pin()),
            (Papers { ca: other.certificate_pem().to_owned(), ..good() }, other.pin()),
        ];
        for (papers, pin) in table {
            let name = NodeName { cluster, node: 4 };
            let refused = home.move_in(name, &pin, &papers, &places()).unwrap_err();
            let unfit = matches!(refused, HomeError::Unfit(_) | HomeError::OtherAuthority);
            assert!(unfit, "{refused}");
            assert!(!dir.path().join(HOME_FILE).exists());
        }
        let name = NodeName { cluster, node: 4 };
        home.move_in(name, &ca.pin(), &good(), &places()).unwrap();
    }
}
