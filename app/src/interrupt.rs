//! A request to stop: what was begun ends in order, or soon, and nothing incomplete is left.

use crate::error::{Error, ErrorKind, OrError};
use crate::output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

/// How often a process that was asked to stop is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long unfinished files may take to be removed: a share that does not answer must not hold the process.
const TIME_TO_CLEAN: Duration = Duration::from_secs(2);

/// Whether to stop. Copies share one request.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    computing: AtomicBool,
}

/// What signals do.
#[derive(Clone, Copy, Debug)]
pub struct OnSignals {
    /// Exit code of a process that a signal ends.
    pub exit_code: i32,
    /// After the first signal the process is ended from outside once it has not been [computing](Stop::set_computing) for
    /// so long: it waits for a disk or a share. Without a limit, only a second signal does that.
    pub patience: Option<Duration>,
    /// Called at the first signal.
    pub announce: fn(),
}

impl Stop {
    /// A request that only [`Stop::request`] makes.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// A request that SIGINT, SIGTERM and SIGHUP make. The second signal ends the process at once. A process that a signal
    /// ends removes its unfinished files.
    ///
    /// A process has one of these: asking again gives the first one's copy, with its settings.
    ///
    /// # Errors
    /// The system does not let signals be handled.
    pub fn on_signals(settings: OnSignals) -> Result<Stop, Error> {
        static OF_PROCESS: OnceLock<Stop> = OnceLock::new();
        if let Some(stop) = OF_PROCESS.get() {
            return Ok(stop.clone());
        }
        let stop = Stop::new();
        let signalled = stop.clone();
        ctrlc::set_handler(move || signalled.on_signal(settings))
            .or_error_with(ErrorKind::Internal, || "signals cannot be handled")?;
        Ok(OF_PROCESS.get_or_init(|| stop).clone())
    }

    fn on_signal(&self, settings: OnSignals) {
        if self.0.requested.swap(true, Ordering::SeqCst) {
            end(settings.exit_code);
        }
        (settings.announce)();
        if let Some(patience) = settings.patience {
            let stop = self.clone();
            thread::spawn(move || {
                stop.wait_until_idle(patience);
                end(settings.exit_code)
            });
        }
    }

    /// Returns when nothing was computed for `patience`.
    fn wait_until_idle(&self, patience: Duration) {
        let mut idle = Duration::ZERO;
        while idle < patience {
            thread::sleep(LOOK_AGAIN);
            idle = if self.0.computing.load(Ordering::SeqCst) { Duration::ZERO } else { idle + LOOK_AGAIN };
        }
    }

    /// Says whether the process computes, and so comes to its next look at the request by itself. Otherwise it may wait for
    /// a disk or a share that does not answer.
    pub fn set_computing(&self, computing: bool) {
        self.0.computing.store(computing, Ordering::SeqCst);
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// An error of kind [`ErrorKind::Interrupted`] once somebody asked to stop.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<(), Error> {
        if self.requested() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

/// Ends the process, without its unfinished files.
fn end(exit_code: i32) -> ! {
    let (sender, cleaned) = mpsc::channel();
    thread::spawn(move || {
        output::abandon();
        let _ = sender.send(());
    });
    let _ = cleaned.recv_timeout(TIME_TO_CLEAN);
    std::process::exit(exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn who_computes_is_waited_for() {
        let stop = Stop::new();
        stop.set_computing(true);
        let busy = stop.clone();
        let started = Instant::now();
        let worker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            busy.set_computing(false);
        });
        stop.wait_until_idle(Duration::from_millis(100));
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
        worker.join().unwrap();
    }
}
