//! What the tests that cross crates share: made-up scans, golden arrays, the built program.

pub mod ct;
pub mod npy;
pub mod program;
pub mod small;
