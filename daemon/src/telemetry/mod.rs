//! What a node tells about itself: numbers and log lines.

mod log_series;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod sampler;
