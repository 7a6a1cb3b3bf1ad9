//! One SyncKairos node, and the command line.
//!
//! `node` puts the parts together; `http` and `push` are what clients see; `sessions` proposes and
//! reads; `raft` and `pki` are how nodes talk; `cli` is what people type.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("a release has no planted bugs: build them with the dev profile");

mod admin;
mod admission;
mod backup;
pub mod cli;
mod config;
mod disk;
mod health;
mod http;
mod members;
mod node;
mod pki;
#[cfg(feature = "planted-bugs")]
mod planted;
mod push;
mod raft;
mod sessions;
mod telemetry;
