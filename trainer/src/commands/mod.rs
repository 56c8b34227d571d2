//! The program's commands: arguments in, words and exit codes out.

mod adopt;
mod budget;
pub mod distill;
pub mod export;
mod judge;
pub mod measure;
pub mod plan;
pub mod report;
mod runs;
pub mod schedule;
mod speed;
pub mod status;
pub mod teacher;
pub mod validate;

use scanside_app::Error;
use scanside_app::worker::Worker;
use std::io::Write;

/// Measures models: `scanside`, where it lies beside this program and is of the same version. Otherwise this program, whose
/// libtorch then counts as memory of the model; that is said on standard error.
fn measuring_worker() -> Result<Worker, Error> {
    if let Some(worker) = Worker::beside_this_program("scanside")? {
        return Ok(worker);
    }
    eprintln!(
        "scanside-train: warning: there is no scanside {} beside this program, so memory is measured with libtorch in it",
        env!("CARGO_PKG_VERSION")
    );
    Worker::this_program()
}

/// Prints results. A reader that went away (`| head`) is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}
