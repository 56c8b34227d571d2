//! Ctrl-C: finish the tile, leave nothing behind, exit 130. A second one ends the program at once.

use crate::exit::{Exit, Failure, OrExit};
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

static LISTENING: AtomicBool = AtomicBool::new(false);

/// Listens for SIGINT, SIGTERM and SIGHUP from now on. Once is enough; asking again changes nothing.
///
/// # Errors
/// The system does not let signals be handled.
pub fn listen() -> Result<(), Failure> {
    if LISTENING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted as i32);
        }
    })
    .or_exit_with(Exit::Usage, || "signals cannot be handled")
}

/// The user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// The failure that says so.
pub fn failure() -> Failure {
    Failure::says(Exit::Interrupted, "interrupted; nothing was left half-written, and running again resumes")
}
