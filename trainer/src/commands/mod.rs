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

use std::io::Write;

/// Prints results. A reader that went away (`| head`) is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}
