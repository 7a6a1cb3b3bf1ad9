//! One cluster for all tests of a file: started by the first, stopped by the last.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
    thread,
};

use tokio::sync::Mutex;

use crate::cluster::{Cluster, Plan};

/// Where the tests of a file meet.
pub struct Meeting {
    plan: fn() -> Plan,
    cluster: Mutex<Weak<Cluster>>,
}

/// The cluster, for one test.
pub struct Shared(Arc<Cluster>);

impl Meeting {
    pub const fn new(plan: fn() -> Plan) -> Self {
        Self { plan, cluster: Mutex::const_new(Weak::new()) }
    }

    /// # Panics
    /// Where the cluster does not start.
    pub async fn join(&self) -> Shared {
        let mut cluster = self.cluster.lock().await;
        if let Some(running) = cluster.upgrade() {
            return Shared(running);
        }
        let started = Arc::new((self.plan)().start().await);
        *cluster = Arc::downgrade(&started);
        Shared(started)
    }
}

impl Deref for Shared {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last one shows the logs anyway.
        if thread::panicking() && 1 < Arc::strong_count(&self.0) {
            self.0.show_logs();
        }
    }
}
