//! The networks on libtorch.

pub mod native;
