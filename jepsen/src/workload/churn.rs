//! Sessions are made, listed and deleted: whoever is there must be on the list.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{anywhere, create, hot, on};
use crate::{
    client::outcome::Completion,
    generator::{Step, board::Board, sessions},
    history::op::{F, Kind},
};

const SESSIONS_MAX: usize = 50;

#[derive(Default)]
pub struct Churn {
    /// The query of the next page of the list that it is reading.
    next_page: Option<Value>,
    scans: u64,
}

impl Churn {
    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        if let Some(query) = self.next_page.take() {
            return Step::new(F::List, None, query, anywhere(random));
        }
        let playing = board.playing();
        let dice = random.random_range(0..100_u8);
        let Some(known) =
            playing.choose(random).filter(|_| 30 <= dice || SESSIONS_MAX < playing.len())
        else {
            let participants = random.random_range(1..=2);
            return create(sessions::plain(participants, random), random);
        };
        match dice {
            0..=54 => {
                board.leave(&known.session);
                on(F::Delete, &known.session, Value::Null, random)
            }
            55..=74 => {
                self.scans += 1;
                let scan = format!("{}-{}", sessions::id(random), self.scans);
                let mut query = json!({"limit": random.random_range(3..=20), "scan": scan});
                if random.random_bool(0.25) {
                    query["status"] = json!(["pending", "running"].choose(random));
                }
                Step::new(F::List, None, query, anywhere(random))
            }
            _ => hot::step(known, random),
        }
    }

    /// Goes on to the next page where there is one.
    pub fn done(&mut self, step: &Step, completion: &Completion) {
        if step.f != F::List || completion.kind != Kind::Ok {
            return;
        }
        if let Some(cursor) = completion.value["next_cursor"].as_str() {
            let mut query = step.request.clone();
            query["cursor"] = json!(cursor);
            self.next_page = Some(query);
        }
    }
}
