//! How the cluster is, as one node can tell: it asks all members at once and draws a conclusion.
//!
//! `report` is what a node says of itself, `survey` asks everybody, `verdict` is the conclusion and
//! has no clock and no socket in it, `status` is the form that operators get. `members` is what clients
//! need to know, and asks nobody.

mod members;
pub(crate) mod report;
pub(crate) mod status;
mod survey;
mod verdict;

pub(crate) use survey::Survey;
