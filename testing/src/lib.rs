//! Test doubles and test data that the tests of all crates share.
//!
//! Unit tests inside `scanside-core` cannot use the doubles: there the core is compiled a second time, as the test, and
//! its traits are other traits. They can use [`numbers`].

pub mod data;
pub mod engines;
pub mod executors;
pub mod numbers;
pub mod runs;
pub mod student;
