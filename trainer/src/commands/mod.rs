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

use scanside::exit::{Exit, Failure, OrExit};
use std::io::Write;
use std::path::PathBuf;

/// The program to measure models with: `scanside`, where it lies beside this one. The libtorch that is loaded here is not memory
/// that a model takes.
fn measuring_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().or_exit(Exit::BadModel)?;
    let beside = own.with_file_name(format!("scanside{}", std::env::consts::EXE_SUFFIX));
    Ok(if beside.is_file() { beside } else { own })
}

/// Prints results. A reader that went away (`| head`) is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}
