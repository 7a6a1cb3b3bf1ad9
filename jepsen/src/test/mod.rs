//! One test: what it is made of, how it is run, and what is left of it.

pub mod ending;
pub mod monitor;
pub mod observers;
pub mod plan;
pub mod run;
pub mod runner;
pub mod worker;
