//! Runs made by hand, to test checkers on: a small world that does what it should, until a test
//! changes what was written down of it.
//!
//! Times are in milliseconds since the run began. Cluster time is [`EPOCH_MS`] plus that. Every
//! session is of mode `per_participant` with two participants, who have 60 s each.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    history::{
        op::{Event, F, Failure, Kind, Process},
        pair::pair,
        tape::{Frame, Tape, What},
    },
    nemesis::{FaultOutcome, FaultRecord, Planned, Target, Trouble},
    test::{
        plan::{DiskKind, EnvKind, Plan, Workload},
        run::{Ending, Exit, Export, NodeEnding, Run, Sample},
    },
};

pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;
pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];
const NS: u64 = 1_000_000;
const BANK_MS: u64 = 60_000;

/// A run that is being made.
pub(crate) struct Example {
    run: Run,
    /// What the cluster has.
    sessions: BTreeMap<String, Value>,
    /// Everything that it ever had.
    named: BTreeSet<String>,
    /// How far cluster time is from [`EPOCH_MS`] plus the runner's.
    pub(crate) ahead_ms: i64,
    revision: u64,
    processes: u32,
    /// When each subscriber's connection asked for a session last, to tell it of changes.
    listening: Vec<(String, String)>,
}

impl Example {
    pub(crate) fn new() -> Self {
        Self {
            run: nothing(),
            sessions: BTreeMap::new(),
            named: BTreeSet::new(),
            ahead_ms: 0,
            revision: 10,
            processes: 0,
            listening: Vec::new(),
        }
    }

    /// One with an observer on each node and a session `s`, made at 100 and started at 200.
    pub(crate) fn started() -> Self {
        let mut example = Self::new();
        example.observe(10);
        example.create("s", 100);
        example.write(F::Start, "s", 200);
        example
    }

    /// An operation, with its answer or its failure.
    pub(crate) fn op(
        &mut self,
        (f, key): (F, Option<&str>),
        request: Value,
        (invoked, returned): (u64, u64),
        outcome: Result<Value, &str>,
    ) {
        self.invoke(f, key, request, invoked);
        let event = self.run.events.last().unwrap();
        let mut event = Event { time: returned * NS, value: Value::Null, ..event.clone() };
        match outcome {
            Ok(value) => {
                (event.kind, event.status, event.value) = (Kind::Ok, Some(200), value);
            }
            Err(kind) => {
                (event.kind, event.status) = (Kind::Fail, Some(503));
                event.error = Some(Failure {
                    kind: kind.to_owned(),
                    effect: String::from("none"),
                    ..Failure::default()
                });
            }
        }
        self.run.events.push(event);
    }

    /// An operation that nobody knows the outcome of.
    pub(crate) fn open(&mut self, f: F, key: &str, (invoked, lost): (u64, u64)) -> &mut Event {
        self.invoke(f, Some(key), Value::Null, invoked);
        let event = self.run.events.last().unwrap();
        let error = Failure {
            kind: String::from("TIMEOUT"),
            effect: String::from("unknown"),
            ..Failure::default()
        };
        let event =
            Event { time: lost * NS, kind: Kind::Info, error: Some(error), ..event.clone() };
        self.run.events.push(event);
        self.last_event(2)
    }

    fn invoke(&mut self, f: F, key: Option<&str>, value: Value, invoked: u64) {
        self.processes += 1;
        self.run.events.push(Event {
            index: 0,
            time: invoked * NS,
            process: Process::Client(self.processes),
            kind: Kind::Invoke,
            f: f.as_str().to_owned(),
            key: key.map(str::to_owned),
            value,
            node: Some(String::from("n1")),
            idem: None,
            status: None,
            error: None,
        });
    }

    /// The last event but so many.
    pub(crate) fn last_event(&mut self, from_the_end: usize) -> &mut Event {
        let position = self.run.events.len() - from_the_end;
        &mut self.run.events[position]
    }

    /// Creates a session: asked for at `at`, stamped 2 ms later, answered after 4 ms.
    pub(crate) fn create(&mut self, session: &str, at: u64) {
        let iso = self.iso(at + 2);
        let participant = |index: u64| {
            json!({
                "participant_id": format!("p{index}"), "participant_index": index,
                "total_time_ms": BANK_MS, "time_used_ms": 0, "time_remaining_ms": BANK_MS,
                "cycle_count": 0, "is_active": false, "has_expired": false,
            })
        };
        let state = json!({
            "session_id": session, "sync_mode": "per_participant", "status": "pending",
            "version": 1, "participants": [participant(0), participant(1)],
            "active_participant_id": null, "total_time_ms": 120_000, "time_per_cycle_ms": null,
            "cycle_started_at": null, "session_started_at": null, "session_completed_at": null,
            "increment_ms": 0, "created_at": iso, "updated_at": iso, "time_remaining_ms": BANK_MS,
            "elapsed_ms": 0, "deadline_ms": null, "expired_at": null,
        });
        for (subscriber, node) in self.listening.clone() {
            self.subscribe((&subscriber, &node), 1, session, (at - 2, Some(0)));
        }
        self.changed(
            session,
            state.clone(),
            json!({"type": "created", "reason": "command"}),
            at + 3,
        );
        self.op((F::Create, Some(session)), json!({}), (at, at + 4), Ok(state));
    }

    /// Any of the other commands, as [`Example::create`].
    pub(crate) fn write(&mut self, f: F, session: &str, at: u64) {
        if f == F::Delete {
            self.sessions.remove(session);
            self.revision += 1;
            let message = json!({
                "type": "SESSION_DELETED", "sessionId": session, "revision": self.revision,
                "cause": {"type": "deleted", "reason": "command"},
            });
            self.tell_all(&message, at + 3);
            return self.op((f, Some(session)), Value::Null, (at, at + 4), Ok(Value::Null));
        }
        let mut state = self.sessions[session].clone();
        let now = self.clock(at + 2);
        charge(&mut state, now);
        let seat = active(&state);
        let (status, word, next) = match f {
            F::Start => ("running", "started", 0),
            F::Switch => ("running", "switched", 1 - seat),
            F::Pause => ("paused", "paused", seat),
            F::Resume => ("running", "resumed", seat),
            F::Complete => ("completed", "completed", usize::MAX),
            F::Create | F::Delete | F::Read | F::StaleRead | F::List | F::Batch | F::Time => {
                panic!("{f:?} is another matter")
            }
        };
        self.step(&mut state, (status, next), now);
        let cause = json!({"type": word, "reason": "command"});
        self.changed(session, state.clone(), cause, at + 3);
        let answer = if f == F::Switch { switched(&state) } else { state };
        self.op((f, Some(session)), Value::Null, (at, at + 4), Ok(answer));
    }

    /// The running clock of a session falls due, is charged, and runs on; it is heard of `late` ms
    /// after that. Returns when it fell due.
    pub(crate) fn expire(&mut self, session: &str, late: u64) -> u64 {
        let mut state = self.sessions[session].clone();
        let due = state["deadline_ms"].as_u64().unwrap();
        charge(&mut state, due);
        let seat = active(&state);
        state["participants"][seat]["has_expired"] = json!(true);
        self.step(&mut state, ("running", seat), due);
        state["deadline_ms"] = Value::Null;
        let cause = json!({
            "type": "participant_expired", "reason": "timeout", "due_ms": due,
            "participant_id": format!("p{seat}"),
        });
        let at = u64::try_from(i64::try_from(due - EPOCH_MS).unwrap() - self.ahead_ms).unwrap();
        self.changed(session, state, cause, at + late);
        at
    }

    /// The span is not charged to the running clock.
    pub(crate) fn credit(&mut self, session: &str, (from, until): (u64, u64)) {
        let mut state = self.sessions[session].clone();
        let (from, until) = (self.clock(from), self.clock(until));
        let began = super::state::stamp_ms(&state, "cycle_started_at").unwrap();
        let credited = until - from;
        let began = u64::try_from(began).unwrap() + credited;
        state["cycle_started_at"] = json!(iso(began));
        let due = state["deadline_ms"].as_u64().unwrap() + credited;
        (state["deadline_ms"], state["updated_at"]) = (json!(due), json!(iso(until)));
        state["version"] = json!(state["version"].as_u64().unwrap() + 1);
        let cause = json!({
            "type": "outage_credited", "reason": "auto", "from_ms": from, "until_ms": until,
            "credited_ms": credited,
        });
        let at = u64::try_from(i64::try_from(until - EPOCH_MS).unwrap() - self.ahead_ms).unwrap();
        self.changed(session, state, cause, at + 1);
    }

    fn step(&self, state: &mut Value, (status, next): (&str, usize), now: u64) {
        state["version"] = json!(state["version"].as_u64().unwrap() + 1);
        (state["status"], state["updated_at"]) = (json!(status), json!(iso(now)));
        for seat in 0..2 {
            state["participants"][seat]["is_active"] = json!(seat == next);
        }
        let is_on = next < 2;
        state["active_participant_id"] =
            if is_on { json!(format!("p{next}")) } else { Value::Null };
        let runs = status == "running";
        state["cycle_started_at"] = if runs { json!(iso(now)) } else { Value::Null };
        state["deadline_ms"] = Value::Null;
        if runs && is_on {
            let left = state["participants"][next]["total_time_ms"].as_u64().unwrap();
            state["deadline_ms"] = json!(now + left);
        }
    }

    /// The cluster has it from now on, and everybody who listens is told.
    fn changed(&mut self, session: &str, state: Value, cause: Value, at: u64) {
        self.revision += 1;
        let message = json!({
            "type": "STATE_UPDATE", "sessionId": session, "version": state["version"],
            "revision": self.revision, "cause": cause, "state": state,
        });
        self.sessions.insert(session.to_owned(), state);
        self.named.insert(session.to_owned());
        self.tell_all(&message, at);
    }

    fn tell_all(&mut self, message: &Value, at: u64) {
        for (subscriber, node) in self.listening.clone() {
            self.message((&subscriber, &node), 1, message.clone(), at);
        }
    }

    /// An observer connects to each node, and follows every session that is made from now on.
    pub(crate) fn observe(&mut self, at: u64) {
        for node in NODES {
            let name = format!("observer-{node}-1");
            self.frame((&name, node), 1, What::Open, at);
            self.listening.push((name, node.to_owned()));
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        who: (&str, &str),
        connection: u64,
        session: &str,
        (at, since): (u64, Option<u64>),
    ) {
        let frame = self.frame(who, connection, What::Subscribe, at);
        (frame.session, frame.since) = (Some(session.to_owned()), since);
        frame.value = json!({"type": "SUBSCRIBE", "sessionId": session, "since": since});
        let message = json!({"type": "SUBSCRIBED", "sessionId": session});
        self.message(who, connection, message, at + 1);
    }

    pub(crate) fn message(&mut self, who: (&str, &str), connection: u64, value: Value, at: u64) {
        self.frame(who, connection, What::Message, at).value = value;
    }

    /// Anything else that a subscriber sees or does.
    pub(crate) fn frame(
        &mut self,
        (subscriber, node): (&str, &str),
        connection: u64,
        what: What,
        at: u64,
    ) -> &mut Frame {
        let value = if what == What::Close { json!({"code": 1006}) } else { Value::Null };
        self.run.frames.push(Frame {
            time: at * NS,
            subscriber: subscriber.to_owned(),
            connection,
            node: node.to_owned(),
            what,
            session: None,
            since: None,
            value,
        });
        self.run.frames.last_mut().unwrap()
    }

    /// A message that anybody was told of this version.
    pub(crate) fn told(&self, session: &str, version: u64) -> Value {
        let mut messages = self.run.frames.iter().map(|frame| &frame.value);
        let is_it = |message: &&Value| {
            message["type"] == "STATE_UPDATE"
                && message["sessionId"] == session
                && message["version"] == version
        };
        messages.find(is_it).unwrap().clone()
    }

    /// The session as the cluster has it.
    pub(crate) fn state(&self, session: &str) -> Value {
        self.sessions[session].clone()
    }

    /// The test asks for faults of this family, and none is drawn.
    pub(crate) fn wants(&mut self, trouble: Trouble) {
        self.run.plan.nemesis.push(trouble);
    }

    pub(crate) fn fault(
        &mut self,
        trouble: Trouble,
        nodes: &[&str],
        (from, to): (u64, u64),
    ) -> &mut FaultRecord {
        let planned = Planned {
            id: u64::try_from(self.run.faults.len()).unwrap(),
            at_ms: from,
            for_ms: to - from,
            trouble,
            form: String::from("plain"),
            target: Target::One,
            pick: 0,
        };
        self.run.plan.nemesis.push(trouble);
        self.run.plan.schedule.push(planned.clone());
        self.run.faults.push(FaultRecord {
            planned,
            began_ns: from * NS,
            ended_ns: to * NS,
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            hit_leader: nodes.contains(&"n1"),
            outcome: FaultOutcome::Bit,
            evidence: Value::Null,
        });
        self.run.faults.last_mut().unwrap()
    }

    /// The nodes tell of themselves; `leader` leads.
    pub(crate) fn sample(&mut self, at: u64, term: u64, leader: &str) {
        let cluster_time_ms = self.clock(at + 1);
        for node in NODES {
            let role = if node == leader { "leader" } else { "follower" };
            self.run.samples.push(Sample {
                time: (at + 2) * NS,
                node: node.to_owned(),
                answered: true,
                role: role.to_owned(),
                term,
                leader: leader[1..].parse().ok(),
                applied: self.revision,
                cluster_time_ms,
                asked_ns: at * NS,
            });
        }
    }

    pub(crate) fn exit(&mut self, node: &str, at: u64, because: &str) -> &mut Exit {
        self.run.ending.exits.push(Exit {
            node: node.to_owned(),
            time: at * NS,
            code: None,
            signal: Some(9),
            because: because.to_owned(),
            allowed: Vec::new(),
        });
        self.run.ending.exits.last_mut().unwrap()
    }

    /// The cluster is well at `at` and is asked what it has; the observers leave 3 s after it.
    pub(crate) fn end(&mut self, at: u64) -> &mut Ending {
        let sessions =
            |name: &String| (name.clone(), self.sessions.get(name).cloned().unwrap_or(Value::Null));
        let node = |name: &str| NodeEnding {
            name: name.to_owned(),
            sessions: self.named.iter().map(sessions).collect(),
            listed: self.sessions.keys().cloned().collect(),
            export: Some(Export { revision: self.revision, hash: String::from("5eed"), lines: 7 }),
        };
        let ending = Ending {
            recovered: true,
            trouble: None,
            healed_ns: (at - 2) * NS,
            ready_ns: (at - 1) * NS,
            quiet_ns: at * NS,
            nodes: NODES.map(node).to_vec(),
            exits: std::mem::take(&mut self.run.ending.exits),
        };
        self.run.ending = ending;
        for (subscriber, node) in self.listening.clone() {
            self.frame((&subscriber, &node), 1, What::Close, at + 3_000);
        }
        &mut self.run.ending
    }

    /// What [`Run::load`] would read.
    pub(crate) fn run(&self) -> Run {
        let mut run = self.run.clone();
        run.events.sort_by_key(|event| event.time);
        for (index, event) in (0..).zip(&mut run.events) {
            event.index = index;
        }
        run.frames.sort_by_key(|frame| frame.time);
        reread(&mut run);
        run
    }

    /// Cluster time.
    pub(crate) fn clock(&self, at: u64) -> u64 {
        u64::try_from(i64::try_from(EPOCH_MS + at).unwrap() + self.ahead_ms).unwrap()
    }

    fn iso(&self, at: u64) -> String {
        iso(self.clock(at))
    }
}

/// Pairs the events and adds up the frames of a run that was changed.
pub(crate) fn reread(run: &mut Run) {
    run.ops = pair(&run.events);
    run.tape = Tape::of(&run.frames);
}

/// Changes what the subscribers were told of a version.
pub(crate) fn retell(run: &mut Run, session: &str, version: u64, change: impl Fn(&mut Value)) {
    let mut changed = 0;
    for frame in &mut run.frames {
        let message = &mut frame.value;
        if message["sessionId"] == session && message["version"] == version {
            change(message);
            changed += 1;
        }
    }
    assert!(0 < changed, "nobody was told of version {version} of {session}");
    reread(run);
}

/// The text of a moment of cluster time.
pub(crate) fn iso(ms: u64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap();
    format!("{stamp:.3}")
}

fn active(state: &Value) -> usize {
    usize::from(state["active_participant_id"] == "p1")
}

/// Charges the stretch up to `now`, where a clock runs.
fn charge(state: &mut Value, now: u64) {
    if state["status"] != "running" {
        return;
    }
    let began = super::state::stamp_ms(state, "cycle_started_at").unwrap();
    let spent = now - u64::try_from(began).unwrap();
    let seat = active(state);
    let participant = &mut state["participants"][seat];
    let used = participant["time_used_ms"].as_u64().unwrap() + spent;
    let left = participant["total_time_ms"].as_u64().unwrap().saturating_sub(spent);
    participant["time_used_ms"] = json!(used);
    participant["total_time_ms"] = json!(left);
    participant["time_remaining_ms"] = json!(left);
    state["elapsed_ms"] = json!(state["elapsed_ms"].as_u64().unwrap() + spent);
}

fn switched(state: &Value) -> Value {
    let keys = [
        "session_id",
        "active_participant_id",
        "cycle_started_at",
        "participants",
        "status",
        "version",
    ];
    keys.into_iter().map(|key| (key.to_owned(), state[key].clone())).collect()
}

fn nothing() -> Run {
    Run {
        plan: Plan {
            name: String::from("example"),
            workload: Workload::Turns,
            nemesis: Vec::new(),
            seed: 1,
            nodes: 3,
            concurrency: 4,
            rate: 50.0,
            time_limit_s: 10,
            nemesis_interval_s: 5.0,
            env: EnvKind::Loopback,
            disk: DiskKind::Plain,
            bin: PathBuf::from("synckairos"),
            bin_old: None,
            plant: None,
            schedule: Vec::new(),
        },
        events: Vec::new(),
        ops: Vec::new(),
        frames: Vec::new(),
        tape: Tape::default(),
        faults: Vec::new(),
        samples: Vec::new(),
        ending: Ending::default(),
        logs: Vec::new(),
    }
}
