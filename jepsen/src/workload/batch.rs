//! Several sessions in one request: all of it takes effect, or nothing.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{anywhere, create, hot};
use crate::{
    generator::{
        Step,
        board::{Board, Known},
        sessions,
    },
    history::op::F,
};

const SESSIONS: usize = 8;

#[derive(Default)]
pub struct Batch;

impl Batch {
    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        let playing = board.playing();
        if playing.len() < SESSIONS {
            return create(sessions::plain(random.random_range(2..=3), random), random);
        }
        if random.random_bool(0.45) {
            let Some(known) = playing.choose(random) else {
                return create(sessions::plain(2, random), random);
            };
            if 300 < known.version {
                board.leave(&known.session);
            }
            return hot::step(known, random);
        }
        let count = random.random_range(2..=6);
        let mut commands: Vec<Value> = playing
            .choose_multiple(random, count)
            .cloned()
            .collect::<Vec<Known>>()
            .iter()
            .map(|known| command(known, random))
            .collect();
        match random.random_range(0..100_u8) {
            // One of them cannot be, so none may.
            0..=14 => {
                let nobody = sessions::id(random);
                commands.push(json!({"action": "switch", "session_id": nobody}));
            }
            15..=19 => {
                let mut command = sessions::plain(2, random);
                command["action"] = json!("create");
                commands.push(command);
            }
            _ => {}
        }
        Step::new(F::Batch, None, json!({"commands": commands}), anywhere(random))
    }
}

fn command(known: &Known, random: &mut ChaCha8Rng) -> Value {
    let mut command = match known.status.as_str() {
        "unknown" | "pending" => json!({"action": "start"}),
        "paused" => json!({"action": "resume"}),
        _ if random.random_bool(0.1) => json!({"action": "pause"}),
        _ => match hot::switch(known, random) {
            Value::Null => json!({"action": "switch"}),
            mut body => {
                body["action"] = json!("switch");
                body
            }
        },
    };
    command["session_id"] = json!(known.session);
    if random.random_bool(0.3) {
        command["expected_version"] = json!(known.version.max(1));
    }
    command
}
