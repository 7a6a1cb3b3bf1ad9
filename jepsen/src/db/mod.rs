//! The nodes of a test: real processes of the program under test.

pub mod cluster;
pub mod layout;
pub mod node;
pub mod operator;
pub mod process;
pub mod program;
pub mod storage;
