//! The program's commands: arguments in, text and exit codes out.

pub mod distill;
mod evaluate;
pub mod export;
pub mod measure;
pub mod plan;
mod progress_lines;
pub mod report;
mod runs;
mod speed;
pub mod status;
pub mod teacher;
pub mod training_args;
pub mod validate;

use scanside_app::worker::Worker;
use scanside_app::{Error, ErrorKind};
use std::io::{self, Write};

/// The process that measures models: `scanside`, where it is beside this program and has the same version. Otherwise this
/// program, whose memory then includes libtorch; a warning on standard error says so.
fn measuring_worker() -> Result<Worker, Error> {
    if let Some(worker) = Worker::beside_this_program("scanside")? {
        return Ok(worker);
    }
    note!(
        "scanside-train: warning: there is no scanside {} beside this program, so the measured memory includes libtorch",
        env!("CARGO_PKG_VERSION")
    );
    Worker::this_program()
}

/// Prints a message on standard error.
macro_rules! note {
    ($($part:tt)*) => {
        crate::commands::message(format_args!($($part)*))
    };
}
use note;

/// Prints a message on standard error. Where nobody can read it (a closed pipe, a session that ended) it is dropped: what the
/// program does is worth more than what it says of it.
pub fn message(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a result on standard output.
///
/// # Errors
/// Standard output cannot be written, for example because the disk is full. A reader that has closed the pipe (`| head`) is
/// not an error.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::with_source(ErrorKind::Output, "standard output cannot be written", error))
        }
        _ => Ok(()),
    }
}
