//! Core-seconds of a training step of one sample: the native network beside libtorch, on one thread.
#![allow(missing_docs)]
fn main() {}
