//! The core without an operating system's library: own entry point, own heap of fixed size, own panic handler.
//!
//! That this links proves that neither the core nor a dependency pulls std in; that it exits with 0 proves that tiling,
//! stitching and export give the standard build's labels in a heap that is known beforehand. Linux on x86-64 only
//! serves as the machine here: it is asked for nothing but to end the process.
#![no_std]
#![no_main]

extern crate alloc;

mod runtime;
mod scene;

/// 0: the labels are right. 1: the run failed. 2: other labels. 3 and 4: see [`runtime`].
fn run() -> i32 {
    match scene::run() {
        Some(scene::EXPECTED) => 0,
        Some(_) => 2,
        None => 1,
    }
}
