//! The program people use: scans in, labels out.

mod args;
mod case_run;
mod cases;
mod digest;
mod evaluate;
mod exit;
mod import;
mod inspect;
mod interrupt;
mod label_file;
mod label_like;
mod model;
mod output;
mod plan;
mod process;
mod progress;
mod record;
mod segment;
mod threads;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Segment(args) => segment::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Import(args) => import::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Evaluate(args) => evaluate::run(args),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        eprintln!("scanside: {failure}");
        failure.exit
    });
    ExitCode::from(exit as u8)
}
