//! The checkers: each a pure function of a run, each with a verdict of its own.

mod act;
pub mod availability;
pub mod clock;
pub mod converge;
pub mod coverage;
pub mod disks;
pub mod durability;
pub mod effects;
#[cfg(test)]
pub(crate) mod example;
pub mod idempotency;
pub mod linear;
pub mod lists;
pub mod logs;
pub(crate) mod quantile;
pub mod replay;
pub(crate) mod state;
pub mod stats;
pub mod stream;
pub mod verdict;
pub(crate) mod window;

use verdict::Verdict;

use crate::test::run::Run;

/// A checker's name, and what it does.
pub type Checker = (&'static str, fn(&Run) -> Verdict);

/// All of them, in the order in which they are reported.
pub const CHECKERS: &[Checker] = &[
    ("replay", replay::check),
    ("effects", effects::check),
    ("idempotency", idempotency::check),
    ("durability", durability::check),
    ("stream", stream::check),
    ("clock", clock::check),
    ("linear", linear::check),
    ("lists", lists::check),
    ("converge", converge::check),
    ("disks", disks::check),
    ("logs", logs::check),
    ("availability", availability::check),
    ("coverage", coverage::check),
    ("stats", stats::check),
];

/// Every checker's verdict.
pub fn all(run: &Run) -> Vec<Verdict> {
    CHECKERS.iter().map(|(_, check)| check(run)).collect()
}
