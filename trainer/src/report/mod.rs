//! A run's files and the page that shows them to people.

pub mod log;
pub mod run;
