//! The networks on libtorch.
