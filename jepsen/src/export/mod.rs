//! Histories in the forms that other checkers read.

pub mod edn;
pub mod porcupine;
