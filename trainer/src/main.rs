//! The trainer's program.

use clap::{Parser, Subcommand};
use scanside_app::interrupt::{OnSignals, Stop};
use scanside_app::{Error, machine, worker};
use scanside_trainer::commands;
use scanside_trainer::exit::{EXIT_CODES, Exit};
use std::process::ExitCode;

/// Trains nnU-Net networks, distils them into smaller ones, and exports them. Research software, not for diagnosis.
#[derive(Debug, Parser)]
#[command(name = "scanside-train", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(commands::plan::PlanArgs),
    Teacher(commands::teacher::TeacherArgs),
    Distill(commands::distill::DistillArgs),
    /// Segment the validation cases of a fold with a trained network, and compare them with their labels.
    Validate(commands::validate::ValidateArgs),
    /// Measure the speed and memory of trained networks on this machine.
    Measure(commands::measure::MeasureArgs),
    /// Write a trained network as ONNX, as an nnU-Net folder, or as safetensors.
    Export(commands::export::ExportArgs),
    /// Compare the validated runs of a work folder with their teacher, as a page or as JSON.
    Report(commands::report::ReportArgs),
    /// List the runs of a work folder and their progress.
    Status(commands::status::StatusArgs),
    /// Run one job for another Scanside process.
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    machine::limit_allocator();
    let cli = Cli::parse();
    let exit = run(&cli.command).unwrap_or_else(|error| {
        commands::message(format_args!("scanside-train: {}", error.chain()));
        Exit::from(error.kind())
    });
    ExitCode::from(exit as u8)
}

fn run(command: &Command) -> Result<Exit, Error> {
    let stop = Stop::on_signals(OnSignals {
        exit_code: Exit::Interrupted as i32,
        // Training ends its step and writes a checkpoint, however long that takes.
        patience: None,
        announce: || commands::message(format_args!("scanside-train: stopping; a second signal stops at once")),
    })?;
    match command {
        Command::Plan(args) => commands::plan::run(args, &stop),
        Command::Teacher(args) => commands::teacher::run(args, &stop),
        Command::Distill(args) => commands::distill::run(args, &stop),
        Command::Validate(args) => commands::validate::run(args, &stop),
        Command::Export(args) => commands::export::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Measure(args) => commands::measure::run(args, &stop),
        Command::Worker => worker::serve(std::io::stdin().lock(), std::io::stdout().lock()).map(|()| Exit::Done),
    }
}
