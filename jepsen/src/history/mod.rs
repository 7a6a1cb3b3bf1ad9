//! What happened in a test, as it was written down.

pub mod op;
pub mod pair;
pub mod recorder;
pub mod tape;
