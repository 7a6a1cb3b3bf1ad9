//! Steady load through the client crate: each client switches a session of its own as fast as it is
//! answered, reads in between, and one of them is followed.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use synckairos_client::{
    client::{Client, Config},
    error::ClientError,
    follow::FollowEvent,
    requests::new_session,
};
use synckairos_protocol::{
    error::Effect,
    ids::{ParticipantId, SessionId},
    session::SyncMode,
    time::Millis,
    wire::create::SwitchBody,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    load::{Acknowledged, Tally},
    sessions::new_id,
    wait::PATIENCE,
};

/// Of the switches of a client, each so manieth is followed by a read.
const READ_EVERY: usize = 8;
/// No clock runs out during a test.
const BANK: Millis = Millis::new(3_600_000);

pub struct ClientLoad {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Tally>,
    followed: SessionId,
    follower: JoinHandle<Vec<u64>>,
    /// One that learned nothing from the others' requests, to end with.
    last: Client,
}

/// What came of a load.
pub struct Outcome {
    pub tallies: Vec<Tally>,
    /// The versions that the follower of the first tally's session was told, in its order.
    pub told: Vec<u64>,
}

impl ClientLoad {
    /// `clients` clients that know these nodes to begin with, each asking another one first.
    ///
    /// # Panics
    /// Where the sessions cannot be made.
    pub async fn start(seeds: &[SocketAddr], clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let mut followed = None;
        for turn in 0..clients {
            let client = client_of(seeds, turn);
            let session = running_session(&client).await;
            followed = followed.or(Some(session));
            tasks.spawn(switch_and_read(client, session, Arc::clone(&stop)));
        }
        let followed = followed.expect("there is at least one client");
        let last = client_of(seeds, 0);
        let follower = tokio::spawn(versions(last.clone(), followed));
        Self { stop, clients: tasks, followed, follower, last }
    }

    /// Stops the clients and collects what they were told, the followed session's first.
    ///
    /// # Panics
    /// Where a client failed, or the follower was not told the end.
    pub async fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Vec::new();
        while let Some(tally) = self.clients.join_next().await {
            tallies.push(tally.expect("a client only counts"));
        }
        let followed = self.followed.to_string();
        tallies.sort_by_key(|tally| tally.session != followed);
        self.last.complete(self.followed, None).await.expect("the session is there");
        let told = timeout(PATIENCE, self.follower).await.expect("the follower is told the end");
        Outcome { tallies, told: told.expect("the follower only listens") }
    }
}

impl Outcome {
    /// No request failed, and the follower was told each version once, in order.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn check_promises(&self) {
        for tally in &self.tallies {
            assert!(!tally.acknowledged.is_empty(), "client of {} did nothing", tally.session);
            assert!(tally.refused.is_empty(), "requests failed: {:?}", tally.refused);
            assert!(tally.unknown.is_empty(), "requests of unknown fate: {:?}", tally.unknown);
        }
        let in_order = self.told.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(in_order, "a version is missing or told twice: {:?}", self.told);
        // The end of the session is one more.
        assert_eq!(self.told.last().copied(), Some(self.tallies[0].version + 1));
    }
}

fn client_of(seeds: &[SocketAddr], turn: usize) -> Client {
    let (before, rest) = seeds.split_at(turn % seeds.len());
    let urls = rest.iter().chain(before).map(|address| format!("http://{address}"));
    Client::new(Config::new(urls)).expect("addresses make base URLs")
}

async fn running_session(client: &Client) -> SessionId {
    let id: SessionId = new_id().parse().expect("a UUID");
    let players = [(); 2].map(|()| new_id().parse::<ParticipantId>().expect("a UUID"));
    let new = new_session(id, SyncMode::PerParticipant, &players.map(|player| (player, BANK)));
    client.create(&new).await.expect("a session is made");
    client.start(id, None).await.expect("a session is started");
    id
}

async fn switch_and_read(client: Client, session: SessionId, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally {
        session: session.to_string(),
        acknowledged: Vec::new(),
        version: 2,
        unknown: Vec::new(),
        refused: Vec::new(),
    };
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        match client.switch(session, SwitchBody::default()).await {
            Ok(switched) => {
                tally.acknowledged.push(Acknowledged { sent, answered: Instant::now() });
                if switched.version != tally.version + 1 {
                    let seen = format!("version {} after {}", switched.version, tally.version);
                    tally.unknown.push(seen);
                }
                tally.version = switched.version;
            }
            Err(error) => note(&mut tally, "switch", &error),
        }
        if !tally.acknowledged.len().is_multiple_of(READ_EVERY) {
            continue;
        }
        match client.get(session).await {
            Ok(state) if state.version == tally.version => {}
            Ok(state) => {
                let seen = format!("read version {} after {}", state.version, tally.version);
                tally.unknown.push(seen);
            }
            Err(error) => note(&mut tally, "read", &error),
        }
    }
    tally
}

fn note(tally: &mut Tally, what: &str, error: &ClientError) {
    let list = match error.effect() {
        Effect::None => &mut tally.refused,
        Effect::Unknown => &mut tally.unknown,
    };
    list.push(format!("{what}: {error}"));
}

/// Versions as a follower is told them, until the session ends.
async fn versions(client: Client, session: SessionId) -> Vec<u64> {
    let mut subscription = client.follow(session);
    let mut told = Vec::new();
    while let Some(event) = subscription.next().await {
        if let FollowEvent::Updated(update) = event {
            told.push(update.version);
            if update.state.session_completed_at.is_some() {
                break;
            }
        }
    }
    told
}
