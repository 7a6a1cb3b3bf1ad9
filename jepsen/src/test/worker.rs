//! A client process: it draws operations, carries them out one at a time, and writes them down.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::observers::Observers;
use crate::{
    client::{
        http::{Broken, Question, Wire},
        outcome::{Completion, classify},
        subscriber::Addresses,
    },
    generator::{Step, board::Board},
    history::{
        op::{Event, F, Kind, Process},
        recorder::Recorder,
    },
    workload::{Player, crate_client::CrateClient},
};

/// Longer than nodes take to give a request up: their word is better than none.
const PATIENCE: Duration = Duration::from_secs(5);
/// An operation that is aimed at a moment waits no longer than this.
const AIM_MAX_NS: u64 = 2_500_000_000;
/// A process that found nobody to connect to does not spin.
const AFTER_CONNECT_FAILED: Duration = Duration::from_millis(20);

/// What all client processes share.
pub struct Shared {
    pub recorder: Recorder,
    pub board: Board,
    pub observers: Observers,
    pub addresses: Addresses,
    pub concurrency: u32,
    /// Mean time between two operations of one process.
    pub pause: Duration,
    pub seed: u64,
}

pub struct Worker {
    shared: Arc<Shared>,
    /// Grows by the concurrency whenever an operation's fate stays unknown.
    process: u32,
    player: Player,
    random: ChaCha8Rng,
    wires: Vec<(SocketAddr, Wire)>,
    /// In the workload that tests the client crate.
    crate_client: Option<CrateClient>,
}

impl Worker {
    pub fn new(
        shared: Arc<Shared>,
        number: u32,
        player: Player,
        crate_client: Option<CrateClient>,
    ) -> Self {
        let seed = shared.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number));
        let random = ChaCha8Rng::seed_from_u64(seed);
        let (process, wires) = (number, Vec::new());
        Self { shared, process, player, random, wires, crate_client }
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = self.shared.pause.mul_f64(exponential(&mut self.random));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            let mut step = self.player.next(&self.shared.board, &mut self.random);
            self.announce(&step);
            if let Some(at_ns) = step.at_ns.take() {
                let wait = at_ns.saturating_sub(self.shared.recorder.now_ns());
                if wait <= AIM_MAX_NS {
                    tokio::time::sleep(Duration::from_nanos(wait)).await;
                }
            }
            let completion = self.perform(&step).await;
            self.shared.board.learn(&step, &completion, self.shared.recorder.now_ns());
            self.player.done(&step, &completion);
            if completion.error.as_ref().is_some_and(|error| error.kind == Broken::Connect.as_str())
            {
                tokio::time::sleep(AFTER_CONNECT_FAILED).await;
            }
        }
    }

    /// Observers follow a session before it is there, so that they see all of it.
    fn announce(&self, step: &Step) {
        let batch = step.request["commands"].as_array().into_iter().flatten();
        for session in batch.clone().filter_map(|command| command["session_id"].as_str()) {
            self.shared.board.name(session);
        }
        let batch = batch.filter(|command| command["action"] == "create");
        let single = Some(&step.request).filter(|_| step.f == F::Create);
        for body in batch.chain(single) {
            if let Some(session) = body["session_id"].as_str()
                && self.shared.board.get(session).is_none()
            {
                self.shared.board.announce(body);
                self.shared.observers.follow(session);
            }
        }
    }

    async fn perform(&mut self, step: &Step) -> Completion {
        let addresses = (self.shared.addresses)();
        let Some((node, address)) = addresses.get(step.node % addresses.len().max(1)).cloned()
        else {
            return classify(step.f, Err(Broken::Connect));
        };
        let by_crate = self.crate_client.is_some();
        let asked = if by_crate { String::from("client") } else { node };
        self.write(step, Kind::Invoke, Some(asked.clone()), None);
        let crate_answer = match &self.crate_client {
            Some(client) => client.perform(step).await,
            None => None,
        };
        let completion = match crate_answer {
            Some(completion) => completion,
            None => {
                let question = question(step);
                let wire = self.wire(address);
                let result = match step.cut_after {
                    Some(after) => match wire.ask(&question, after).await {
                        // The caller is gone; what was answered nobody read.
                        Err(Broken::Timeout) => Err(Broken::Cut),
                        other => other,
                    },
                    None => wire.ask(&question, PATIENCE).await,
                };
                classify(step.f, result)
            }
        };
        self.write(step, completion.kind, Some(asked), Some(&completion));
        if completion.kind == Kind::Info {
            self.process += self.shared.concurrency;
        }
        completion
    }

    fn wire(&mut self, address: SocketAddr) -> &mut Wire {
        let known = self.wires.iter().position(|(known, _)| *known == address);
        let position = known.unwrap_or_else(|| {
            self.wires.push((address, Wire::new(address)));
            self.wires.len() - 1
        });
        &mut self.wires[position].1
    }

    fn write(&self, step: &Step, kind: Kind, node: Option<String>, done: Option<&Completion>) {
        let value = match done {
            Some(completion) => completion.value.clone(),
            None => step.request.clone(),
        };
        self.shared.recorder.event(Event {
            index: 0,
            time: 0,
            process: Process::Client(self.process),
            kind,
            f: step.f.as_str().to_owned(),
            key: step.key.clone(),
            value,
            node,
            idem: step.idem.clone(),
            status: done.and_then(|completion| completion.status),
            error: done.and_then(|completion| completion.error.clone()),
        });
    }
}

fn question(step: &Step) -> Question {
    let session = step.key.as_deref().unwrap_or_default();
    let body = Some(step.request.clone()).filter(|request| !request.is_null());
    let command =
        |word: &str| Question::post(format!("/v1/sessions/{session}/{word}"), body.clone());
    let question = match step.f {
        F::Create => Question::post("/v1/sessions", body),
        F::Start | F::Switch | F::Pause | F::Resume | F::Complete => command(step.f.as_str()),
        F::Delete => Question::delete(format!("/v1/sessions/{session}")),
        F::Read => Question::get(format!("/v1/sessions/{session}")),
        F::StaleRead => Question::get(format!("/v1/sessions/{session}?consistency=stale")),
        F::List => Question::get(format!("/v1/sessions?{}", query(&step.request))),
        F::Batch => Question::post("/v1/batch", body),
        F::Time => Question::get("/v1/time"),
    };
    question.keyed(step.idem.clone())
}

/// Of what the request has, the parts that a node knows.
fn query(request: &Value) -> String {
    let mut parts = Vec::new();
    for key in ["limit", "status", "cursor"] {
        match &request[key] {
            Value::Number(number) => parts.push(format!("{key}={number}")),
            Value::String(text) => parts.push(format!("{key}={}", percent_encoded(text))),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    parts.join("&")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        })
        .collect()
}

/// Of mean 1, as the times between independent callers are.
fn exponential(random: &mut ChaCha8Rng) -> f64 {
    -(1.0 - random.random::<f64>()).ln()
}

/// Reads a session linearizably at one node, past every fault; null where there is none.
///
/// # Errors
/// What the node answered.
pub async fn read_session(
    control: SocketAddr,
    session: &str,
    within: Duration,
) -> Result<Value, String> {
    let question = Question::get(format!("/v1/sessions/{session}"));
    match crate::client::http::ask(control, &question, within).await {
        Ok(answer) if answer.status == 200 => Ok(answer.body["data"].clone()),
        Ok(answer) if answer.status == 404 => Ok(Value::Null),
        Ok(answer) => Err(format!("{}: {}", answer.status, answer.body)),
        Err(broken) => Err(String::from(broken.as_str())),
    }
}

/// The ids of all pages of the list at one node.
///
/// # Errors
/// What the node answered.
pub async fn list_sessions(control: SocketAddr, within: Duration) -> Result<Vec<String>, String> {
    let (mut listed, mut request) = (Vec::new(), json!({"limit": 100}));
    loop {
        let question = Question::get(format!("/v1/sessions?{}", query(&request)));
        let answer = crate::client::http::ask(control, &question, within).await;
        let answer = answer.map_err(|broken| String::from(broken.as_str()))?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        let page = answer.body["data"].as_array().into_iter().flatten();
        listed.extend(page.filter_map(|state| state["session_id"].as_str().map(str::to_owned)));
        match answer.body["next_cursor"].as_str() {
            Some(cursor) => request["cursor"] = json!(cursor),
            None => return Ok(listed),
        }
    }
}
