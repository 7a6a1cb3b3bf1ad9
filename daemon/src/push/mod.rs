//! Updates to whoever watches a session: a hub that hands out what was committed, and the
//! conversation on each WebSocket.
//!
//! Nothing here proposes or decides; the hub sees changes in commit order and nothing else.

mod hub;
pub(crate) mod socket;

pub(crate) use hub::Hub;
