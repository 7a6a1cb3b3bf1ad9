//! One key sent to several nodes, at once and later, through whatever is broken meanwhile: one
//! effect, and one answer.

use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{anywhere, create, hot};
use crate::{
    generator::{Step, board::Board, sessions},
    history::op::F,
};

const SESSIONS: usize = 6;

#[derive(Default)]
pub struct Retries;

impl Retries {
    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        let offered = board.offered();
        if let Some(again) = offered.choose(random).filter(|_| random.random_bool(0.6)) {
            return repeat(again, random);
        }
        let playing = board.playing();
        let mut step = match playing.choose(random).filter(|_| SESSIONS <= playing.len()) {
            Some(known) => {
                if 300 < known.version {
                    board.leave(&known.session);
                }
                hot::step(known, random)
            }
            None => create(sessions::plain(random.random_range(2..=3), random), random),
        };
        if step.f.writes() {
            step.idem = Some(format!("k-{}", sessions::id(random)));
            board.offer(step.clone());
            if random.random_bool(0.2) {
                step.cut_after = Some(Duration::from_micros(random.random_range(100..5_000)));
            }
        }
        step
    }
}

/// The same to any node; rarely another request under its key, which must be refused.
fn repeat(step: &Step, random: &mut ChaCha8Rng) -> Step {
    let mut again = step.clone();
    again.node = anywhere(random);
    if step.f == F::Switch && random.random_bool(0.04) {
        again.request = match &step.request {
            Value::Null => json!({"expected_version": 1_000_000}),
            _ => Value::Null,
        };
    }
    again
}
