//! A request to stop: the current tile is finished, and no incomplete file is left.

use crate::error::{Error, ErrorKind, OrError};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether to stop. Copies share one request.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A request that only [`Stop::request`] makes.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// A request that SIGINT, SIGTERM and SIGHUP make. The second signal ends the process at once with `exit_code`.
    ///
    /// A process has one of these: asking again gives the first one's copy, with its exit code.
    ///
    /// # Errors
    /// The system does not let signals be handled.
    pub fn on_signals(exit_code: i32) -> Result<Stop, Error> {
        static OF_PROCESS: OnceLock<Stop> = OnceLock::new();
        if let Some(stop) = OF_PROCESS.get() {
            return Ok(stop.clone());
        }
        let stop = Stop::new();
        let signalled = stop.clone();
        ctrlc::set_handler(move || {
            if signalled.0.swap(true, Ordering::SeqCst) {
                std::process::exit(exit_code);
            }
        })
        .or_error_with(ErrorKind::Internal, || "signals cannot be handled")?;
        Ok(OF_PROCESS.get_or_init(|| stop).clone())
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error of kind [`ErrorKind::Interrupted`] once somebody asked to stop.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<(), Error> {
        if self.requested() { Err(Error::interrupted()) } else { Ok(()) }
    }
}
