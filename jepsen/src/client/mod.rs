//! The raw client: HTTP and WebSocket as they are, without retries, so that every outcome is seen.

pub mod http;
pub mod outcome;
pub mod subscriber;
