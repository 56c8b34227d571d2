//! The trainer's program.

fn main() {}
