//! The workloads: what clients do, and which promise it strains.

pub mod batch;
pub mod churn;
pub mod crate_client;
pub mod expiry;
pub mod hot;
pub mod retries;
pub mod turns;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use self::{batch::Batch, churn::Churn, expiry::Expiry, hot::Hot, retries::Retries, turns::Turns};
use crate::{
    client::outcome::Completion,
    generator::{Step, board::Board},
    history::op::F,
    test::plan::Workload,
};

/// One client process's part of a workload.
pub enum Player {
    Hot(Hot),
    Turns(Turns),
    Expiry(Expiry),
    Retries(Retries),
    Batch(Batch),
    Churn(Churn),
}

impl Player {
    /// Of the `number`-th client process.
    pub fn new(workload: Workload, number: u32) -> Self {
        match workload {
            Workload::Register => Self::Hot(Hot::new(3, 400).that_reads(number % 3 == 2)),
            // Many sessions, so that subscribers have many streams to mix up.
            Workload::Stream => Self::Hot(Hot::new(12, 300)),
            Workload::Client => Self::Hot(Hot::new(6, 400)),
            Workload::Turns => Self::Turns(Turns::new(8)),
            Workload::Expiry => Self::Expiry(Expiry::new(8)),
            Workload::Retries => Self::Retries(Retries),
            Workload::Batch => Self::Batch(Batch),
            Workload::Churn => Self::Churn(Churn::default()),
            Workload::Soak => {
                let parts = [
                    Workload::Register,
                    Workload::Turns,
                    Workload::Expiry,
                    Workload::Retries,
                    Workload::Batch,
                    Workload::Churn,
                ];
                let part = usize::try_from(number).unwrap_or(0) % parts.len();
                Self::new(parts[part], number)
            }
        }
    }

    /// What it does next.
    pub fn next(&mut self, board: &Board, random: &mut ChaCha8Rng) -> Step {
        if random.random_bool(0.02) {
            return Step::new(F::Time, None, Value::Null, anywhere(random));
        }
        match self {
            Self::Hot(player) => player.next(board, random),
            Self::Turns(player) => player.next(board, random),
            Self::Expiry(player) => player.next(board, random),
            Self::Retries(player) => player.next(board, random),
            Self::Batch(player) => player.next(board, random),
            Self::Churn(player) => player.next(board, random),
        }
    }

    /// What came of it.
    pub fn done(&mut self, step: &Step, completion: &Completion) {
        if let Self::Churn(player) = self {
            player.done(step, completion);
        }
    }
}

/// A node at random.
fn anywhere(random: &mut ChaCha8Rng) -> usize {
    usize::try_from(random.random_range(0..1_000_u32)).unwrap_or(0)
}

fn create(body: Value, random: &mut ChaCha8Rng) -> Step {
    let session = body["session_id"].as_str().map(str::to_owned);
    Step::new(F::Create, session, body, anywhere(random))
}

fn on(f: F, session: &str, request: Value, random: &mut ChaCha8Rng) -> Step {
    Step::new(f, Some(session.to_owned()), request, anywhere(random))
}
