//! The Rust client of SyncKairos: typed requests to a cluster of several nodes, sessions followed
//! live, and running clocks drawn with the machine's own arithmetic.
//!
//! ```no_run
//! use synckairos_client::{client::{Client, Config}, requests::new_session};
//! use synckairos_protocol::{
//!     ids::{ParticipantId, SessionId},
//!     session::SyncMode,
//!     time::Millis,
//!     wire::create::SwitchBody,
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Config::new(["http://10.0.0.1:3000", "http://10.0.0.2:3000"]))?;
//! let game: SessionId = "0198c5a0-0000-7000-8000-000000000001".parse()?;
//! let white: ParticipantId = "0198c5a0-0000-7000-8000-00000000000a".parse()?;
//! let black: ParticipantId = "0198c5a0-0000-7000-8000-00000000000b".parse()?;
//!
//! let five_minutes = Millis::new(300_000);
//! let banks = [(white, five_minutes), (black, five_minutes)];
//! client.create(&new_session(game, SyncMode::PerParticipant, &banks)).await?;
//! client.start(game, None).await?;
//! let switched = client.switch(game, SwitchBody::default()).await?;
//! assert_eq!(switched.active_participant_id, Some(black));
//! # Ok(())
//! # }
//! ```
//!
//! Every request that changes something has an idempotency key of its own, so a node that dies, a
//! leader that loses its office, or an answer that is lost on its way is no reason to give up: the
//! request is sent again under the same key until its deadline, has one effect, and gets one
//! answer. What a request that failed all the same may have done is
//! [`error::ClientError::effect`].

pub mod client;
mod discovery;
pub mod error;
pub mod follow;
mod node_handle;
mod nodes;
mod pace;
pub mod project;
pub mod requests;
mod retry;
pub mod time;
mod transport;

#[cfg(test)]
mod test_server;
