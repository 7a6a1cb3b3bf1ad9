//! Steady load: clients that switch, each on a session of its own, and count what they were told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    http::{Answer, Http},
    sessions, wait,
};

/// Between two switches of a client, so that failures are not retried in a tight loop.
const PAUSE: Duration = Duration::from_millis(5);

/// A request that never left this machine's kernel.
pub const NOT_CONNECTED: &str = "not connected";
/// A connection that ended between a request and its answer.
pub const LOST: &str = "connection lost";

/// What one client was told about its session.
#[derive(Clone, Debug)]
pub struct Tally {
    pub session: String,
    pub acknowledged: Vec<Acknowledged>,
    /// The highest version that an answer named.
    pub version: u64,
    /// Requests that may have taken effect all the same: kind, or [`LOST`].
    pub unknown: Vec<String>,
    /// Refused without effect: kind, or [`NOT_CONNECTED`].
    pub refused: Vec<String>,
}

/// A switch that was answered with 200.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub sent: Instant,
    pub answered: Instant,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Tally>,
}

enum Outcome {
    Done { version: u64 },
    Refused(String),
    Unknown(String),
}

impl Load {
    /// `clients` clients, spread over `nodes`; each goes to the next node after a failure.
    ///
    /// # Panics
    /// Where the sessions cannot be made.
    pub async fn start(nodes: &[&Http], clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let session = running_session(nodes[client % nodes.len()]).await;
            let nodes: Vec<Http> = nodes.iter().map(|node| (*node).clone()).collect();
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let mut tally = Tally {
                    session,
                    acknowledged: Vec::new(),
                    version: 2,
                    unknown: Vec::new(),
                    refused: Vec::new(),
                };
                let mut turn = client;
                while !stop.load(Ordering::Relaxed) {
                    if !step(&nodes[turn % nodes.len()], &mut tally).await {
                        turn += 1;
                    }
                    wait::pass(PAUSE).await;
                }
                tally
            });
        }
        Self { stop, clients: tasks }
    }

    /// Stops the clients and collects what they were told.
    ///
    /// # Panics
    /// Where a client failed.
    pub async fn stop(mut self) -> Vec<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Vec::new();
        while let Some(tally) = self.clients.join_next().await {
            tallies.push(tally.expect("a client only counts"));
        }
        tallies
    }
}

/// A session of two with an hour each, running.
///
/// # Panics
/// Where it cannot be made.
pub async fn running_session(http: &Http) -> String {
    let body = sessions::new_session("per_participant", &[3_600_000, 3_600_000]);
    let session = sessions::session_id(&body);
    let _ = http.create(&body).await.expect(201);
    let _ = http.command(&session, "start").await.expect(200);
    session
}

/// One switch; false where another node should be tried.
async fn step(http: &Http, tally: &mut Tally) -> bool {
    let sent = Instant::now();
    match switch(http, &tally.session).await {
        Outcome::Done { version } => {
            tally.acknowledged.push(Acknowledged { sent, answered: Instant::now() });
            tally.version = tally.version.max(version);
            true
        }
        Outcome::Refused(kind) => {
            tally.refused.push(kind);
            false
        }
        Outcome::Unknown(kind) => {
            tally.unknown.push(kind);
            false
        }
    }
}

async fn switch(http: &Http, session: &str) -> Outcome {
    match http.try_command(session, "switch").await {
        Ok(answer) if answer.status == 200 => {
            Outcome::Done { version: sessions::number(&answer.data()["version"]) }
        }
        Ok(answer) if has_no_effect(&answer) => Outcome::Refused(answer.kind()),
        Ok(answer) => Outcome::Unknown(answer.kind()),
        Err(error) if error.is_connect() => Outcome::Refused(String::from(NOT_CONNECTED)),
        Err(_) => Outcome::Unknown(String::from(LOST)),
    }
}

fn has_no_effect(answer: &Answer) -> bool {
    let body: Option<Value> = serde_json::from_str(&answer.text).ok();
    body.is_some_and(|body| body["error"]["effect"] == "none")
}

impl Tally {
    /// Every acknowledged switch is in `state`, and nothing that nobody asked for.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn check(&self, state: &Value) {
        let count = |count: usize| u64::try_from(count).expect("a count");
        let (acknowledged, unknown) = (count(self.acknowledged.len()), count(self.unknown.len()));
        let applied = sessions::cycles(state);
        assert!(
            acknowledged <= applied && applied <= acknowledged + unknown,
            "{acknowledged} acknowledged, {unknown} unknown, {applied} applied: {state}"
        );
        let version = sessions::number(&state["version"]);
        assert!(self.version <= version, "acknowledged version {} of {state}", self.version);
        assert_eq!(version, applied + 2, "created, started, then one version a switch: {state}");
    }
}

/// From `loss` to the first answer to a switch that was sent after it.
///
/// # Panics
/// Where there is none.
pub fn takeover(tallies: &[Tally], loss: Instant) -> Duration {
    let all = tallies.iter().flat_map(|tally| &tally.acknowledged);
    let first = all.filter(|one| loss < one.sent).map(|one| one.answered).min();
    first.expect("switches are acknowledged after the loss") - loss
}

/// The longest span without an acknowledged switch of any client.
pub fn longest_gap(tallies: &[Tally]) -> Duration {
    let mut all: Vec<Instant> = tallies
        .iter()
        .flat_map(|tally| tally.acknowledged.iter().map(|one| one.answered))
        .collect();
    all.sort();
    let gaps = all.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}
