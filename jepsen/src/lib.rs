//! The fault-injection suite of SyncKairos.
//!
//! It runs real nodes, works on them as clients do, breaks what they rest on, and judges what they
//! answered. It knows them by HTTP and WebSocket only, and shares no code with them.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of JSON's kinds and of the kinds of faults a function means a few, and never the rest"
)]

pub mod check;
pub mod cli;
pub mod client;
pub mod db;
pub mod env;
pub mod export;
pub mod generator;
pub mod history;
pub mod ledger;
pub mod model;
pub mod nemesis;
pub mod report;
pub mod suite;
pub mod test;
pub mod workload;
