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
mod student;

use scanside_core::network::Isa;

static STUDENT: &[u8] = scanside_core::include_image!("../../golden/image/student.image");

/// 0: everything is as in the standard build. 1: the run failed. 2: other labels. 3 and 4: see [`runtime`]. 5: a student
/// read from bytes gave something else in plain Rust; 6: it did not run with this CPU's own instructions.
fn run() -> i32 {
    match scene::run() {
        Some(scene::EXPECTED) => {}
        Some(_) => return 2,
        None => return 1,
    }
    if student::run(STUDENT, Isa::SCALAR) != Some(student::EXPECTED) {
        return 5;
    }
    // Its bits are those of this kind of CPU, so there is no number to compare them with here.
    if student::run(STUDENT, Isa::detect()).is_none() { 6 } else { 0 }
}
