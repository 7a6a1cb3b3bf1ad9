//! Suites that run real nodes. One program, so that what they share is built and linked once;
//! one suite: `cargo test -p synckairos-tests --test cluster expiry::`.

mod client;
mod contract;
mod contract_errors;
mod dev_command;
mod disk;
mod expiry;
mod isolation;
mod leader_loss;
mod lifecycle;
mod limits;
mod retention;
mod shutdown;
mod snapshot_catchup;
mod startup_errors;
mod status;
mod switches;
mod websocket;
