//! Subscribers on every node that follow every session from its first version: together they write
//! the tape against which everything is judged.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    client::subscriber::{Addresses, Following, Manners, Subscriber},
    history::recorder::Recorder,
};

/// Sessions of one socket; nodes allow 256.
const SESSIONS_A_SOCKET: usize = 200;

#[derive(Clone)]
pub struct Observers {
    inner: Arc<Mutex<Inner>>,
    addresses: Addresses,
    recorder: Recorder,
    stop: CancellationToken,
    tasks: TaskTracker,
    seed: u64,
}

struct Inner {
    parties: Vec<Party>,
}

/// One subscriber's name and manners, on as many sockets as its sessions need.
struct Party {
    name: String,
    home: usize,
    manners: Manners,
    sockets: Vec<Following>,
}

impl Observers {
    pub fn new(addresses: Addresses, recorder: Recorder, seed: u64) -> Self {
        let inner = Arc::new(Mutex::new(Inner { parties: Vec::new() }));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { inner, addresses, recorder, stop, tasks, seed }
    }

    /// Another subscriber, for the sessions that are followed from now on.
    pub fn add(&self, name: &str, home: usize, manners: Manners) {
        let party = Party { name: name.to_owned(), home, manners, sockets: Vec::new() };
        self.lock().parties.push(party);
    }

    /// All of them follow this session.
    pub fn follow(&self, session: &str) {
        for party in &mut self.lock().parties {
            let full = party.sockets.last().is_none_or(|last| SESSIONS_A_SOCKET <= last.len());
            if full {
                let following = Following::default();
                let number = party.sockets.len() + 1;
                let name = format!("{}-{number}", party.name);
                let seed = name.bytes().fold(self.seed, |seed, byte| {
                    seed.wrapping_mul(31).wrapping_add(u64::from(byte))
                });
                let subscriber = Subscriber {
                    name,
                    home: party.home,
                    manners: party.manners,
                    following: following.clone(),
                    addresses: Arc::clone(&self.addresses),
                    recorder: self.recorder.clone(),
                    seed,
                };
                self.tasks.spawn(subscriber.run(self.stop.clone()));
                party.sockets.push(following);
            }
            if let Some(last) = party.sockets.last() {
                last.add(session);
            }
        }
    }

    /// Has every steady one seen at least this version of the session?
    pub fn have_seen(&self, session: &str, version: u64) -> bool {
        let inner = self.lock();
        let mut steady = inner.parties.iter().filter(|party| party.manners == Manners::STEADY);
        steady.all(|party| {
            let mut seen = party.sockets.iter().filter_map(|socket| socket.version(session));
            seen.any(|seen| version <= seen)
        })
    }

    /// Ends all of them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
