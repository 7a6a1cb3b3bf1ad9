//! Many tests in a row, and what they add up to.

pub mod cases;
pub mod plants;
