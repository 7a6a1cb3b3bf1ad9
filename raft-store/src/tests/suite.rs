//! openraft's own tests of a storage.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::Node;
use crate::{AppliedEvent, LogStore, StateStore, raft_types::TypeConfig};

struct Builder;

/// Outlives the store that a test was given.
type Guard = (TempDir, mpsc::Receiver<AppliedEvent>);

impl StoreBuilder<TypeConfig, LogStore, StateStore, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateStore), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::open(directory.path());
        Ok(((directory, node.events), node.opened.log, node.opened.state))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_openraft() {
    Suite::test_all(Builder).await.unwrap();
}
