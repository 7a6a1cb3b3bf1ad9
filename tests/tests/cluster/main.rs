//! Suites that run real nodes. One program, so that what they share is built and linked once;
//! one suite: `cargo test -p synckairos-tests --test cluster expiry::`.

mod batch;
mod client;
mod cluster_time;
mod contract;
mod contract_errors;
mod dev_command;
mod expiry;
mod isolation;
mod leader_loss;
mod lifecycle;
mod limits;
mod listing;
mod outages;
mod resume;
mod resume_storm;
mod retention;
mod retries;
mod shutdown;
mod snapshot_catchup;
mod sse;
mod stale;
mod stale_reads;
mod startup_errors;
mod switches;
mod websocket;
