//! The program `scanside`: arguments, words, progress, exit codes. What it does is in the library `scanside-app`.

mod args;
mod args_extra;
mod commands;
mod exit;
mod print;
mod progress;

use args::{Cli, Command};
use clap::Parser;
use exit::Exit;
use print::note;
use scanside_app::{Error, machine};
use std::process::ExitCode;

fn main() -> ExitCode {
    machine::limit_allocator();
    let exit = run(&Cli::parse().command).unwrap_or_else(|error| {
        note!("scanside: {}", print::error(&error));
        Exit::from(error.kind())
    });
    ExitCode::from(exit as u8)
}

fn run(command: &Command) -> Result<Exit, Error> {
    let exit = match command {
        Command::Segment(args) => commands::segment::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Choose(args) => commands::choose::run(args),
        Command::Import(args) => commands::import::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Compile(args) => commands::compile::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Evaluate(args) => commands::evaluate::run(args),
        Command::Worker => commands::worker::run(),
    }?;
    print::finish()?;
    Ok(exit)
}
