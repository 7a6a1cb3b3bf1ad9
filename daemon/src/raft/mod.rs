//! Raft: the engine's settings, and how its messages travel between nodes.

pub(crate) mod acknowledged;
mod append_stream;
pub(crate) mod calls;
pub(crate) mod candidacy;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod frames;
mod host_time;
pub(crate) mod join_call;
pub(crate) mod join_door;
mod join_messages;
#[cfg(test)]
mod join_tests;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod membership;
pub(crate) mod messages;
pub(crate) mod network;
pub(crate) mod peers;
pub(crate) mod reset_key;
pub(crate) mod serve_calls;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod snapshot_stream;
pub(crate) mod standing;
#[cfg(debug_assertions)]
mod test_clock;
#[cfg(test)]
mod transport_tests;
pub(crate) mod vitals;

use synckairos_raft_store::{StateStore, raft_types::TypeConfig};

pub(crate) type Raft = openraft::Raft<TypeConfig, StateStore>;
