//! The program people use: scans in, labels out.
//!
//! A library as well, so that other programs of this project end, write files and stop on Ctrl-C in the same way.

/// Prints a line of results. A reader that went away (`| head`) is no reason to stop.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

mod args;
pub mod bench;
pub mod case_run;
pub mod cases;
mod choice;
pub mod choose;
mod compile;
pub mod digest;
pub mod evaluate;
pub mod exit;
mod import;
mod inspect;
pub mod interrupt;
pub mod label_file;
mod label_like;
pub mod model;
pub mod output;
mod plan;
mod predict;
mod process;
pub mod progress;
mod record;
mod rehearsal;
pub mod relatives;
mod scan_size;
mod segment;
pub mod threads;
mod window_time;

use args::{Cli, Command};
use clap::Parser;
use exit::{Exit, Failure, OrExit};
use std::path::Path;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Segment(args) => segment::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Choose(args) => choose::run(args),
        Command::Import(args) => import::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Compile(args) => compile::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Evaluate(args) => compare(args),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        eprintln!("scanside: {failure}");
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// Evaluation knows label volumes and class names; where they come from is said here.
fn compare(args: &evaluate::EvaluateArgs) -> Result<Exit, Failure> {
    let read = |path: &Path| {
        let volume = scanside_core::nifti::read_labels(path)?;
        let grid = volume.grid();
        Ok(evaluate::LabelVolume { shape_zyx: grid.shape_zyx, spacing_mm: grid.spacing_mm, voxels: volume.labels })
    };
    let classes = |path: &Path| {
        let manifest = model::manifest(path).map_err(|f| f.error)?;
        let heads = manifest.labels.heads().iter();
        let classes = heads.filter(|head| head.value != 0);
        Ok(classes.map(|h| evaluate::Class { values: vec![h.value.into()], name: h.name.clone() }).collect())
    };
    match evaluate::run(args, read, classes).or_exit(Exit::BadInput)? {
        evaluate::Outcome::Done => Ok(Exit::Done),
        evaluate::Outcome::NothingMatches => Ok(Exit::BadInput),
        evaluate::Outcome::SomeFailed => Ok(Exit::SomeFailed),
    }
}
