//! A few sessions that everybody switches, with and without `expected_version`, and reads: lost
//! updates and stale reads show here first.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{create, on};
use crate::{
    generator::{
        Step,
        board::{Board, Known},
        sessions,
    },
    history::op::F,
};

pub struct Hot {
    sessions: usize,
    /// After so many versions a session is left and another one is made.
    versions_max: u64,
    /// It hardly does anything but read, so that it is not held up by writes that hang, and sees
    /// whether who does not lead any more still answers.
    reads: bool,
}

impl Hot {
    pub const fn new(sessions: usize, versions_max: u64) -> Self {
        Self { sessions, versions_max, reads: false }
    }

    pub const fn that_reads(self, reads: bool) -> Self {
        Self { reads, ..self }
    }

    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        let playing = board.playing();
        let Some(known) = playing.choose(random).filter(|_| self.sessions <= playing.len()) else {
            return create(sessions::plain(random.random_range(2..=4), random), random);
        };
        if self.versions_max < known.version {
            board.leave(&known.session);
            return on(F::Complete, &known.session, Value::Null, random);
        }
        if self.reads && random.random_bool(0.95) {
            return on(F::Read, &known.session, Value::Null, random);
        }
        step(known, random)
    }
}

/// Something that may be done to a hot session.
pub fn step(known: &Known, random: &mut ChaCha8Rng) -> Step {
    let session = known.session.as_str();
    let f = match (known.status.as_str(), random.random_range(0..100_u8)) {
        ("unknown" | "pending", 0..=69) => F::Start,
        ("paused", 0..=59) => F::Resume,
        ("running", 0..=64) => F::Switch,
        ("running", 65..=69) => F::Pause,
        (_, 94..=99) => F::StaleRead,
        (_, _) => F::Read,
    };
    let request = match f {
        F::Switch => switch(known, random),
        F::Pause | F::Resume if random.random_bool(0.5) => {
            json!({"expected_version": known.version})
        }
        _ => Value::Null,
    };
    on(f, session, request, random)
}

/// The body of a switch; null for none.
pub fn switch(known: &Known, random: &mut ChaCha8Rng) -> Value {
    let mut body = json!({});
    if random.random_bool(0.5) {
        // Sometimes one that is certainly old.
        let back = u64::from(random.random_bool(0.1));
        body["expected_version"] = json!(known.version.saturating_sub(back).max(1));
    }
    if random.random_bool(0.3)
        && let Some(next) = known.participants.choose(random)
    {
        body["next_participant_id"] = json!(next);
    }
    if random.random_bool(0.15)
        && let Some(active) = &known.active
    {
        body["current_participant_id"] = json!(active);
    }
    if body.as_object().is_some_and(serde_json::Map::is_empty) { Value::Null } else { body }
}
