//! Switches aimed at the deadline, from both sides: the deadline decides, not the timer.
//!
//! The flag that fell early or late under load is a classic of chess servers (lichess's lishogi
//! #229, liwords #59).

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{create, on};
use crate::{
    generator::{
        Step,
        board::Board,
        sessions::{self, Wish},
    },
    history::op::F,
};

/// Switches are aimed so far around the deadline.
const AROUND_MS: i64 = 25;
/// From the client to the leader's stamp, roughly.
const WAY_MS: i64 = 2;

pub struct Expiry {
    sessions: usize,
}

impl Expiry {
    pub const fn new(sessions: usize) -> Self {
        Self { sessions }
    }

    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        let playing = board.playing();
        let Some(known) = playing.choose(random).filter(|_| self.sessions <= playing.len()) else {
            return create(short(random), random);
        };
        let session = known.session.as_str();
        if 60 < known.version {
            board.leave(session);
            return on(F::Complete, session, Value::Null, random);
        }
        match known.status.as_str() {
            "unknown" | "pending" => {
                // Some are left to their clocks: nothing but the alarm ends them.
                if random.random_bool(0.25) {
                    board.leave(session);
                }
                return on(F::Start, session, Value::Null, random);
            }
            "paused" => return on(F::Resume, session, Value::Null, random),
            "expired" | "completed" => {
                board.leave(session);
                return on(F::Switch, session, Value::Null, random);
            }
            _ => {}
        }
        let deadline = known.deadline_ms.and_then(|deadline| i64::try_from(deadline).ok());
        let dice = random.random_range(0..100_u8);
        let Some(deadline) = deadline.filter(|_| dice < 70) else {
            // A switch's answer has no deadline: reading tells it. Who is out of time has none.
            let f = match dice {
                0..=39 => F::Switch,
                40..=96 => F::Read,
                _ => F::Pause,
            };
            return on(f, session, Value::Null, random);
        };
        let aim = deadline - WAY_MS + random.random_range(-AROUND_MS..=AROUND_MS);
        let f = if random.random_bool(0.9) { F::Switch } else { F::Pause };
        let request = if f == F::Switch && random.random_bool(0.2) {
            json!({"expected_version": known.version})
        } else {
            Value::Null
        };
        let mut step = on(f, session, request, random);
        step.at_ns = board.when_ns(aim);
        step
    }
}

fn short(random: &mut ChaCha8Rng) -> Value {
    let mode = sessions::MODES.choose(random).copied().unwrap_or(sessions::MODES[0]);
    let participants = random.random_range(1..=3);
    let time_ms = random.random_range(1_000..=1_800);
    let mut body = sessions::body(Wish { mode, participants, time_ms }, random);
    let rule = ["notify", "skip_cycle", "end_session"].choose(random).copied();
    body["on_timeout"] = json!({"type": rule});
    if random.random_bool(0.5) {
        body["increment_ms"] = json!(random.random_range(0..=1_000));
    }
    if random.random_bool(0.2) {
        body["on_outage"] = json!("freeze");
    }
    body
}
