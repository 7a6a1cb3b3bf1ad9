//! The words, rules and forms of SyncKairos, without I/O, clock or randomness.
//!
//! [`machine::Machine`] is the replicated state machine: the same batches in the same order make
//! the same state and the same answers on every node. Everything else here is what it speaks of
//! ([`session`], [`command`], [`event`], [`reject`]), the bounds it keeps ([`limits`]), and how all
//! of it looks on disk and on the wire ([`codec`], [`wire`], [`error`]).

pub mod answered;
pub mod codec;
pub mod command;
pub mod error;
pub mod event;
pub mod ids;
pub mod limits;
pub mod machine;
#[cfg(feature = "planted-bugs")]
pub mod plant;
pub mod reject;
pub mod roster;
pub mod session;
pub mod time;
pub mod wire;
