//! Histories of a session that does what it should, with clients that overlap and answers that are
//! lost: to measure the checker, and to see that it finds what was changed in them.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    history::{
        op::{Event, F, Failure, Kind, Process},
        pair::{Outcome, pair},
        tape::Tape,
    },
    test::{
        plan::{DiskKind, EnvKind, Plan, Workload},
        run::{Ending, Run},
    },
};

/// What a history is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub seed: u64,
    pub operations: u64,
    pub clients: u32,
    /// The share of writes whose answer is lost. Half of them took effect.
    pub unknown: f64,
}

const SESSION: &str = "00000000-0000-4000-8000-000000000001";
const SEATS: [&str; 3] = ["p0", "p1", "p2"];
/// Mean time between two operations of a client, and how long one takes at most.
const PAUSE_NS: u64 = 4_000_000;
const TAKES_NS: u64 = 6_000_000;

/// The session itself.
struct Register {
    version: u64,
    status: &'static str,
    active: usize,
}

/// What comes of a request.
enum Reply {
    Ok(Value),
    Refused(u16, Failure),
}

impl Register {
    fn state(&self) -> Value {
        let is_on = matches!(self.status, "running" | "paused");
        let active = if is_on { Value::from(SEATS[self.active]) } else { Value::Null };
        json!({
            "session_id": SESSION, "version": self.version, "status": self.status,
            "active_participant_id": active,
        })
    }

    fn take(&mut self, f: F, request: &Value) -> Reply {
        let expected = request["expected_version"].as_u64();
        if let Some(expected) = expected.filter(|expected| *expected != self.version) {
            let details = json!({"expected_version": expected, "actual_version": self.version});
            return refused(409, "CONCURRENT_MODIFICATION", details);
        }
        let (from, to) = match f {
            F::Create => ("none", "pending"),
            F::Start => ("pending", "running"),
            F::Switch => ("running", "running"),
            F::Pause => ("running", "paused"),
            F::Resume => ("paused", "running"),
            F::Complete | F::Delete | F::Read | F::StaleRead | F::List | F::Batch | F::Time => {
                return Reply::Ok(self.state());
            }
        };
        if self.status != from {
            return refused(400, "INVALID_SESSION_STATE", json!({"status": self.status}));
        }
        if f == F::Switch {
            let next = SEATS.iter().position(|seat| request["next_participant_id"] == *seat);
            self.active = next.unwrap_or((self.active + 1) % SEATS.len());
        }
        self.status = to;
        self.version += 1;
        Reply::Ok(self.state())
    }
}

fn refused(status: u16, kind: &str, told: Value) -> Reply {
    let failure = Failure {
        kind: kind.to_owned(),
        effect: String::from("none"),
        context: told.clone(),
        details: told,
        ..Failure::default()
    };
    Reply::Refused(status, failure)
}

/// An operation whose invocation is written, and that takes effect at `effect_ns`.
struct Pending {
    process: u32,
    f: F,
    request: Value,
    effect_ns: u64,
    return_ns: u64,
    is_lost: bool,
}

/// A run of one session that everybody works on.
pub fn run(shape: Shape) -> Run {
    let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
    let mut register = Register { version: 0, status: "none", active: 0 };
    let mut events = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    // When each client asks next, and as which process.
    let mut clients: Vec<(u64, u32)> = (0..shape.clients).map(|client| (0, client)).collect();
    let make = [(F::Create, body()), (F::Start, Value::Null)];
    for (at_ns, (f, request)) in [(0, 1), (2, 3)].into_iter().zip(make) {
        let asked = event(at_ns.0, shape.clients, (f, Kind::Invoke), request.clone());
        events.push(asked);
        if let Reply::Ok(value) = register.take(f, &request) {
            events.push(event(at_ns.1, shape.clients, (f, Kind::Ok), value));
        }
    }
    let mut free = shape.clients + 1;
    for client in &mut clients {
        client.0 = 10 + random.random_range(0..PAUSE_NS);
    }
    for _ in 0..shape.operations.saturating_sub(2) {
        let Some(place) = (0..clients.len()).min_by_key(|place| clients[*place].0) else { break };
        let (now_ns, process) = clients[place];
        settle(&mut register, &mut pending, &mut events, now_ns);
        let (f, request) = request(&register, &mut random);
        events.push(event(now_ns, process, (f, Kind::Invoke), request.clone()));
        let return_ns = now_ns + random.random_range(1..=TAKES_NS);
        let is_lost = f.writes() && random.random_bool(shape.unknown);
        // Where the answer is lost, the request may be too, or take long.
        let effect_ns = match (is_lost, random.random_bool(0.5)) {
            (true, true) => u64::MAX,
            (true, false) => now_ns + random.random_range(0..=4 * TAKES_NS),
            (false, _) => random.random_range(now_ns..=return_ns),
        };
        if is_lost {
            let mut lost = event(return_ns, process, (f, Kind::Info), Value::Null);
            lost.error = Some(Failure {
                kind: String::from("TIMEOUT"),
                effect: String::from("unknown"),
                ..Failure::default()
            });
            events.push(lost);
        }
        pending.push(Pending { process, f, request, effect_ns, return_ns, is_lost });
        let next_ns = return_ns + random.random_range(1..=2 * PAUSE_NS);
        clients[place] = if is_lost { (next_ns, free) } else { (next_ns, process) };
        free += u32::from(is_lost);
    }
    settle(&mut register, &mut pending, &mut events, u64::MAX);
    finish(events, shape.seed)
}

fn body() -> Value {
    const HOURS_10: u64 = 36_000_000;
    let seat = |id: &&str| json!({"participant_id": id, "total_time_ms": HOURS_10});
    json!({
        "session_id": SESSION, "sync_mode": "per_participant", "total_time_ms": HOURS_10,
        "participants": SEATS.iter().map(seat).collect::<Vec<_>>(),
    })
}

/// What a client who knows the session well or less well asks for.
fn request(register: &Register, random: &mut ChaCha8Rng) -> (F, Value) {
    let f = match (register.status, random.random_range(0..100_u8)) {
        ("paused", 0..=39) => F::Resume,
        (_, 0..=54) => F::Switch,
        (_, 55..=59) => F::Pause,
        (_, _) => F::Read,
    };
    let mut body = json!({});
    if f.writes() && random.random_bool(0.5) {
        let old = random.random_range(0..=2_u64);
        body["expected_version"] = json!(register.version.saturating_sub(old).max(1));
    }
    if f == F::Switch && random.random_bool(0.3) {
        body["next_participant_id"] = json!(SEATS.choose(random));
    }
    let is_empty = body.as_object().is_some_and(serde_json::Map::is_empty);
    (f, if is_empty { Value::Null } else { body })
}

/// Lets everything take effect that does before `now_ns`.
fn settle(
    register: &mut Register,
    pending: &mut Vec<Pending>,
    events: &mut Vec<Event>,
    now_ns: u64,
) {
    pending.sort_by_key(|one| one.effect_ns);
    let due = pending.iter().take_while(|one| one.effect_ns < now_ns).count();
    for one in pending.drain(..due) {
        let reply = register.take(one.f, &one.request);
        if one.is_lost {
            continue;
        }
        let mut answer = event(one.return_ns, one.process, (one.f, Kind::Ok), Value::Null);
        match reply {
            Reply::Ok(value) => answer.value = value,
            Reply::Refused(status, failure) => {
                (answer.kind, answer.status, answer.error) =
                    (Kind::Fail, Some(status), Some(failure));
            }
        }
        events.push(answer);
    }
}

fn event(time: u64, process: u32, (f, kind): (F, Kind), value: Value) -> Event {
    Event {
        index: 0,
        time,
        process: Process::Client(process),
        kind,
        f: f.as_str().to_owned(),
        key: Some(SESSION.to_owned()),
        value,
        node: Some(String::from("n1")),
        idem: None,
        status: (kind == Kind::Ok).then_some(200),
        error: None,
    }
}

fn finish(mut events: Vec<Event>, seed: u64) -> Run {
    // Where two happen at once, the answer is first.
    events.sort_by_key(|event| (event.time, event.kind == Kind::Invoke));
    for (index, event) in (0..).zip(&mut events) {
        event.index = index;
    }
    Run {
        plan: Plan {
            name: String::from("generated"),
            workload: Workload::Register,
            nemesis: Vec::new(),
            seed,
            nodes: 3,
            concurrency: 0,
            rate: 0.0,
            time_limit_s: 0,
            nemesis_interval_s: 0.0,
            env: EnvKind::Loopback,
            disk: DiskKind::Plain,
            bin: std::path::PathBuf::new(),
            bin_old: None,
            plant: None,
            schedule: Vec::new(),
        },
        ops: pair(&events),
        events,
        frames: Vec::new(),
        tape: Tape::default(),
        faults: Vec::new(),
        samples: Vec::new(),
        ending: Ending::default(),
        logs: Vec::new(),
    }
}

/// Swaps the answers of two operations of which one was over before the other began, so that no
/// order can explain them. `false` where there are none.
pub fn swap_two(run: &mut Run, seed: u64) -> bool {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let answered: Vec<usize> = (0..run.ops.len())
        .filter(|place| {
            let op = &run.ops[*place];
            op.f == F::Switch && op.answer().is_some()
        })
        .collect();
    let Some((first, others)) = answered.split_first() else { return false };
    let first = others.choose(&mut random).map_or(*first, |place| *place);
    let end_ns = run.ops[first].returned_ns;
    let later: Vec<usize> =
        answered.into_iter().filter(|place| end_ns < Some(run.ops[*place].invoked_ns)).collect();
    let Some(second) = later.first().copied() else { return false };
    let outcomes: [Outcome; 2] = [run.ops[first].outcome.clone(), run.ops[second].outcome.clone()];
    let [one, other] = outcomes;
    (run.ops[first].outcome, run.ops[second].outcome) = (other, one);
    true
}
