//! Whether the user asked this process to stop.

use scanside_app::Error;
use scanside_app::interrupt::Stop;
use std::sync::OnceLock;

static STOP: OnceLock<Stop> = OnceLock::new();

/// Stops on SIGINT, SIGTERM and SIGHUP from now on; a second one ends the process with `exit_code`.
///
/// # Errors
/// The system does not let signals be handled.
pub fn on_signals(exit_code: i32) -> Result<(), Error> {
    let stop = Stop::on_signals(exit_code)?;
    STOP.get_or_init(|| stop);
    Ok(())
}

/// The process's request to stop; nobody makes it where [`on_signals`] was not called.
pub fn of_process() -> &'static Stop {
    STOP.get_or_init(Stop::new)
}

/// Somebody asked to stop.
pub fn requested() -> bool {
    of_process().requested()
}

/// An error once somebody asked to stop.
///
/// # Errors
/// That one.
pub fn check() -> Result<(), Error> {
    of_process().check()
}
