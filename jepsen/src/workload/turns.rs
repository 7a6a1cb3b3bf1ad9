//! Realistic play in every mode, with clocks short enough to run out.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{create, on};
use crate::{
    generator::{Step, board::Board, sessions},
    history::op::F,
};

pub struct Turns {
    sessions: usize,
}

impl Turns {
    pub const fn new(sessions: usize) -> Self {
        Self { sessions }
    }

    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        let playing = board.playing();
        let Some(known) = playing.choose(random).filter(|_| self.sessions <= playing.len()) else {
            return create(sessions::any((2_000, 20_000), random), random);
        };
        let session = known.session.as_str();
        if 120 < known.version {
            board.leave(session);
            return on(F::Complete, session, Value::Null, random);
        }
        let f = match (known.status.as_str(), random.random_range(0..100_u8)) {
            ("unknown" | "pending", 0..=79) => F::Start,
            ("paused", 0..=69) => F::Resume,
            ("running", 0..=64) => F::Switch,
            ("running", 65..=71) => F::Pause,
            ("running", 72) => F::Complete,
            ("expired" | "completed", 0..=79) => {
                board.leave(session);
                // What comes too late must be refused.
                F::Switch
            }
            (_, 96..=99) => F::StaleRead,
            (_, _) => F::Read,
        };
        let mut request = Value::Null;
        if f == F::Switch {
            request = json!({});
            if let Some(active) = known.active.as_ref().filter(|_| random.random_bool(0.6)) {
                request["current_participant_id"] = json!(active);
            }
            if random.random_bool(0.2) {
                request["expected_version"] = json!(known.version.max(1));
            }
            if random.random_bool(0.15) {
                request["next_participant_id"] = json!(known.participants.choose(random));
            }
        }
        on(f, session, request, random)
    }
}
