//! The JSON forms that clients see, read and written by node and client alike.
//!
//! Nothing here decides anything: a form is what a value of the domain looks like outside.

pub mod batch;
pub mod create;
pub mod fields;
pub mod listing;
pub mod problem;
pub mod rest;
pub mod words;
pub mod ws;

#[cfg(test)]
mod golden;
