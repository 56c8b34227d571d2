//! Does nothing. Without a build script Cargo ignores the build-dependencies.

fn main() {}
