//! The best of several models for one task within limits of memory and time.

mod decide;
pub mod relatives;
mod weigh;

pub use decide::{Budget, Candidate, choose, nothing_fits, table};
pub use weigh::{WeighOptions, Weighed, same_task, weigh};
